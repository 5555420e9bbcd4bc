"""Asks a chatbot with the official OpenAI client, whole and streamed, and prints both answers as JSON."""

import json
import os

import openai

client = openai.OpenAI(base_url=os.environ["DOCBRAIN_URL"] + "/v1", api_key=os.environ["DOCBRAIN_TOKEN"])
model = client.models.list().data[0].id
messages = [{"role": "user", "content": os.environ["DOCBRAIN_QUESTION"]}]

whole = client.chat.completions.create(model=model, messages=messages)
citation = whole.choices[0].message.annotations[0].url_citation
streamed = "".join(
    chunk.choices[0].delta.content or ""
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True)
    if chunk.choices
)
print(
    json.dumps(
        {
            "model": model,
            "answer": whole.choices[0].message.content,
            "streamed": streamed,
            "cited": citation.path,
            "message_id": whole.docbrain["message_id"],
        }
    )
)
