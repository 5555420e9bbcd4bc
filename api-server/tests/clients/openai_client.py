"""The official OpenAI client against a served API: what it lists, asks and raises."""

import os

import openai

URL = os.environ["DOCBRAIN_URL"] + "/v1"
TENANT = {"X-DocBrain-Tenant": os.environ["DOCBRAIN_TENANT"]}
QUESTION = "Which command sets a timeout on a key?"


def client(token: str = os.environ["DOCBRAIN_TOKEN"]) -> openai.OpenAI:
    return openai.OpenAI(base_url=URL, api_key=token, default_headers=TENANT, max_retries=0)


def raised(error: type[openai.APIStatusError], call) -> openai.APIStatusError:
    try:
        call()
    except error as caught:
        assert caught.request_id and caught.message, caught
        return caught
    raise AssertionError(f"{error.__name__} was not raised")


def ask(model: str = "helper", question: str = QUESTION, **more):
    return client().chat.completions.create(model=model, messages=[{"role": "user", "content": question}], **more)


def models() -> None:
    listed = [model.id for model in client().models.list()]
    assert listed == ["helper", "pair"], listed
    model = client().models.retrieve("helper")
    assert model.id == "helper" and model.object == "model" and model.created > 1_700_000_000, model
    assert raised(openai.NotFoundError, lambda: client().models.retrieve("nobody")).code == "chatbot_not_found"


def answer() -> None:
    completion = ask(temperature=0.2, max_tokens=100, tools=[], user="somebody")
    assert completion.object == "chat.completion" and completion.id.startswith("chatcmpl-"), completion
    assert completion.model == "helper", completion
    [choice] = completion.choices
    assert choice.finish_reason == "stop" and choice.message.role == "assistant", choice
    assert "EXPIRE" in choice.message.content, choice
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion.docbrain["answerable"] is True, completion
    cited(choice.message.content, choice.message.annotations)


def cited(text: str, annotations: list) -> None:
    assert annotations, "nothing is cited"
    for annotation in annotations:
        assert annotation.type == "url_citation"
        citation = annotation.url_citation
        assert text[citation.start_index : citation.end_index] == "[1]", (text, citation)
        assert citation.title == "The guide" and citation.url == "https://docs.example/page", citation
        assert citation.path == "guide/expire.md" and citation.document_id, citation
        assert "timeout" in citation.quote, citation


def stream() -> None:
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].id.startswith("chatcmpl-")
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ask().choices[0].message.content, text
    *_, annotated, end, usage = chunks
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"], chunks
    annotations = annotated.choices[0].delta.annotations
    assert text[annotations[0]["url_citation"]["start_index"] :].startswith("[1]"), annotations
    assert end.docbrain["kind"] == "extractive", end
    assert usage.choices == [] and usage.usage.total_tokens == 0, usage
    assert all(chunk.usage is None for chunk in ask(stream=True)), "usage was not asked for"


def stream_by_events() -> None:
    """The client's own reading of a stream, which puts the message together again."""
    messages = [{"role": "user", "content": QUESTION}]
    with client().chat.completions.stream(model="helper", messages=messages) as events:
        deltas = "".join(event.delta for event in events if event.type == "content.delta")
        message = events.get_final_completion().choices[0].message
    assert message.content == deltas and "EXPIRE" in deltas, message


def conversation() -> None:
    completion = client().chat.completions.create(
        model="helper",
        messages=[
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": "EXPIRE sets a timeout. [1]"},
            {"role": "user", "content": [{"type": "text", "text": "And how is it removed again?"}]},
        ],
    )
    assert completion.docbrain["answerable"] is True, completion


def errors() -> None:
    missing = raised(openai.NotFoundError, lambda: ask(model="nobody"))
    assert missing.code == "chatbot_not_found" and missing.type == "invalid_request_error", missing.body
    wrong = raised(openai.AuthenticationError, lambda: client("wrong").models.list())
    assert wrong.code == "unauthorized", wrong.body
    assert raised(openai.UnprocessableEntityError, lambda: ask(question=" ")).code == "invalid_field"
    assert raised(openai.UnprocessableEntityError, lambda: ask(n=2)).code == "invalid_field"
    assert raised(openai.ConflictError, lambda: ask(model="asleep")).code == "chatbot_suspended"
    raised(openai.NotFoundError, lambda: client().embeddings.create(model="helper", input="text"))


for check in (models, answer, stream, stream_by_events, conversation, errors):
    check()
    print("ok", check.__name__)
