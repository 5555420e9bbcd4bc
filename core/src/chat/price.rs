//! What an answer costs.

use super::TokenUsage;

/// What a model takes, in millionths of a US dollar for a million tokens: 150,000 is $0.15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// For tokens that it is sent.
    pub prompt: u64,
    /// For tokens that it writes.
    pub completion: u64,
}

impl Price {
    /// The cost of one answer in millionths of a US dollar, rounded to the nearest.
    pub fn of(self, usage: TokenUsage) -> u64 {
        const TOKENS: u128 = 1_000_000;
        let part = |tokens: u32, price: u64| u128::from(tokens) * u128::from(price);
        let cost = part(usage.prompt_tokens, self.prompt) + part(usage.completion_tokens, self.completion);
        u64::try_from((cost + TOKENS / 2) / TOKENS).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_tokens_cost_and_the_sum_is_rounded() {
        let usage =
            |prompt_tokens, completion_tokens| TokenUsage { prompt_tokens, completion_tokens, estimated: false };
        let price = Price { prompt: 150_000, completion: 600_000 };
        assert_eq!(price.of(usage(2_000, 100)), 360);
        assert_eq!(price.of(usage(3, 0)), 0);
        assert_eq!(price.of(usage(4, 0)), 1);
        assert_eq!(Price { prompt: u64::MAX, completion: u64::MAX }.of(usage(u32::MAX, u32::MAX)), u64::MAX);
    }
}
