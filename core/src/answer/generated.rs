//! An answer written by a chat model, checked while it streams.

use std::sync::Arc;

use futures::stream::{self, BoxStream, Stream};
use futures::{StreamExt, TryStreamExt};
use tracing::Instrument;

use super::citations::CitationRewriter;
use super::sentinel::{SentinelFilter, Verdict};
use super::{
    Answer, AnswerError, AnswerEvent, AnswerKind, BotProfile, Citation, Question, extractive, fallback, prompt,
};
use crate::chat::{ChatDelta, ChatError, ChatModel, Finish, TokenUsage};
use crate::retrieve::Passage;

type Deltas = BoxStream<'static, Result<ChatDelta, ChatError>>;

/// Asks the model and streams its checked answer.
pub(super) fn stream(
    question: &Question,
    mut passages: Vec<Passage>,
    bot: Arc<BotProfile>,
    model: Arc<dyn ChatModel>,
) -> impl Stream<Item = Result<AnswerEvent, AnswerError>> + Send + use<> {
    let prompt = prompt::build(question, &passages, &bot, rand::random());
    passages.truncate(prompt.shown);
    stream::once(async move {
        let span = tracing::info_span!("model", model = model.name());
        let deltas = model.stream(prompt.request).instrument(span).await?;
        Ok::<_, AnswerError>(write(deltas, Draft::new(passages, bot)))
    })
    .try_flatten()
}

fn write(deltas: Deltas, draft: Draft) -> impl Stream<Item = Result<AnswerEvent, AnswerError>> {
    stream::unfold(Some((deltas, draft)), |state| async {
        let (mut deltas, mut draft) = state?;
        let (events, state) = match deltas.next().await {
            Some(Ok(ChatDelta::Text(piece))) => {
                let shown = draft.push(&piece);
                let event = (!shown.is_empty()).then_some(AnswerEvent::Delta(shown));
                (event.into_iter().map(Ok).collect(), Some((deltas, draft)))
            }
            Some(Ok(ChatDelta::End { finish, usage })) => {
                (draft.finish(finish, usage).into_iter().map(Ok).collect(), None)
            }
            Some(Err(error)) => (vec![Err(error.into())], None),
            None => (vec![Err(ChatError::CutOff.into())], None),
        };
        Some((events, state))
    })
    .flat_map(|events: Vec<_>| stream::iter(events))
}

/// An answer in the making.
struct Draft {
    sentinel: SentinelFilter,
    rewriter: CitationRewriter,
    passages: Vec<Passage>,
    bot: Arc<BotProfile>,
}

impl Draft {
    fn new(passages: Vec<Passage>, bot: Arc<BotProfile>) -> Self {
        let rewriter = CitationRewriter::new(&passages);
        Self { sentinel: SentinelFilter::default(), rewriter, passages, bot }
    }

    /// Takes the model's next piece; gives what can be shown.
    fn push(&mut self, piece: &str) -> String {
        let shown = self.sentinel.push(piece);
        if self.sentinel.verdict() == Verdict::Declined {
            return String::new();
        }
        self.rewriter.push(&shown)
    }

    /// The last text, if any, and the answer.
    fn finish(self, finish: Finish, usage: TokenUsage) -> Vec<AnswerEvent> {
        let Self { sentinel, mut rewriter, passages, bot } = self;
        let (held, verdict) = sentinel.finish();
        let mut last = if verdict == Verdict::Declined { String::new() } else { rewriter.push(&held) };
        let (rest, text, cited) = rewriter.finish();
        last.push_str(&rest);
        if text.is_empty() {
            let answer = fallback(&bot, usage);
            return vec![AnswerEvent::Delta(answer.text.clone()), AnswerEvent::Done(answer)];
        }
        let citations = (1..)
            .zip(&cited)
            .map(|(number, cited)| {
                let passage = &passages[cited.passage];
                Citation::new(number, passage, &extractive::support(&text[..cited.at], passage, &bot.languages))
            })
            .collect();
        let answer = Answer {
            text,
            kind: AnswerKind::Generated,
            answerable: verdict == Verdict::Answered,
            citations,
            usage,
            truncated: finish != Finish::Complete,
        };
        let last = (!last.is_empty()).then_some(AnswerEvent::Delta(last));
        last.into_iter().chain([AnswerEvent::Done(answer)]).collect()
    }
}
