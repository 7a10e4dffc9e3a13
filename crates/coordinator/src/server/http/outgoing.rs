//! Answers on their way out. A client that asks and does not read leaves its answer in memory, so answers
//! count against one budget for all clients until they have been sent.

use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::answer_body::AnswerBody;
use super::budget::{BodyBudget, BodyShare};
use super::envelope::Answer;

/// Smaller answers (status, health) are never refused: connections and their requests are limited in number.
const TINY: usize = 1024;

/// The bytes of an answer with its share of the budget, which is given back with the last reference to them.
struct Held {
    bytes: Bytes,
    _share: BodyShare,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer, counted against the budget.
///
/// # Errors
/// The answer as it was if there is no room for it.
pub(super) async fn held(answer: Answer, budget: &BodyBudget) -> Result<Answer, Answer> {
    let (head, body) = answer.into_parts();
    let whole = match body {
        AnswerBody::Whole(whole) => whole,
        // Read as fast as the client takes it: no more than a few pieces are in memory.
        pieces @ AnswerBody::Pieces { .. } => return Ok(Answer::from_parts(head, pieces)),
    };
    let bytes = match whole.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    };
    if bytes.len() <= TINY {
        return Ok(Answer::from_parts(head, bytes.into()));
    }
    let mut share = budget.share();
    match share.grow(bytes.len()) {
        Ok(()) => Ok(Answer::from_parts(head, Bytes::from_owner(Held { bytes, _share: share }).into())),
        Err(_) => Err(Answer::from_parts(head, bytes.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(length: usize) -> Answer {
        Answer::new(Bytes::from(vec![b'x'; length]).into())
    }

    #[tokio::test]
    async fn answers_stay_within_the_budget_until_the_last_of_them_is_sent() {
        const LARGE: usize = 256 * 1024;
        let budget = BodyBudget::new(4 * LARGE);
        let first = held(answer(2 * LARGE), &budget).await.unwrap_or_else(|_| panic!("there is room"));
        assert!(held(answer(2 * LARGE), &budget).await.is_err());
        assert!(held(answer(TINY), &budget).await.is_ok(), "tiny ones are not counted");
        let small = held(answer(64 * 1024), &budget).await;
        assert!(small.is_ok(), "large ones leave room for small ones");
        let being_sent = first.into_body().collect().await.unwrap().to_bytes().slice(LARGE..);
        assert!(held(answer(2 * LARGE), &budget).await.is_err(), "a part of it still waits");
        drop(being_sent);
        assert!(held(answer(2 * LARGE), &budget).await.is_ok());
    }

    #[tokio::test]
    async fn many_small_answers_that_nobody_reads_are_bounded_too() {
        let budget = BodyBudget::new(1024 * 1024);
        let mut unread = Vec::new();
        while let Ok(answer) = held(answer(64 * 1024), &budget).await {
            unread.push(answer);
        }
        assert_eq!(unread.len(), 16, "all of the budget");
    }
}
