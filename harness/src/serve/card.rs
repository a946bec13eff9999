//! The card that has the function, in its slot or not: it can vanish while it's used, and be plugged in anew.
//!
//! A card that is gone has no power: PERST# is asserted on both of its sides, which takes its links down and resets it fundamentally. So the
//! bus itself gives what hardware gives: reads are all ones, writes go nowhere, and the card sends nothing and knows nothing of what it was.

use mlx5_twin_sim::Time;

/// How often a card whose link is trained is asked whether it answers. Ours.
const AGAIN: Time = Time::ms(1);

/// What happens to the card, for whoever plugs the function into a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardEvent {
    /// The slot notices that the card is gone.
    Gone,
    /// It's there again, as new, and answers.
    Back,
}

/// How a card is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// For how long. `None`: for good.
    pub(super) away: Option<Time>,
    /// How much later the slot notices.
    pub(super) unnoticed: Time,
}

/// Where the card is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Card {
    /// In its slot.
    #[default]
    In,
    /// Away.
    Away {
        /// When the slot notices, if it hasn't.
        notice: Option<Time>,
        /// When it's plugged in again.
        back: Option<Time>,
    },
    /// In its slot, and its link is trained.
    Training {
        /// When it's asked whether it answers.
        ask: Time,
    },
}

/// What is to be done about the card now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The slot notices that it's gone.
    Notice,
    /// It gets power.
    Power,
    /// It may answer by now.
    Ask,
}

impl Card {
    /// A card that is removed at `now`.
    pub(super) fn removed(now: Time, removal: Removal) -> Card {
        let Removal { away, unnoticed } = removal;
        Card::Away { notice: Some(now + unnoticed), back: away.map(|away| now + away) }
    }

    /// Whether it's there and answers.
    pub(super) fn is_in(self) -> bool {
        self == Card::In
    }

    /// When something is to be done about it, and what.
    fn next(self) -> Option<(Time, Step)> {
        match self {
            Card::In => None,
            Card::Away { notice: Some(at), .. } => Some((at, Step::Notice)),
            Card::Away { notice: None, back } => Some((back?, Step::Power)),
            Card::Training { ask } => Some((ask, Step::Ask)),
        }
    }

    /// When something is to be done about it.
    pub(super) fn next_time(self) -> Option<Time> {
        self.next().map(|(at, _)| at)
    }

    /// What is to be done about it at `now`. What comes of asking is to be said by [`Card::answers`].
    pub(super) fn due(&mut self, now: Time) -> Option<Step> {
        let (_, step) = self.next().filter(|(at, _)| *at <= now)?;
        match (step, *self) {
            (Step::Notice, Card::Away { back, .. }) => *self = Card::Away { notice: None, back },
            (Step::Power, _) => *self = Card::Training { ask: now + AGAIN },
            _ => {}
        }
        Some(step)
    }

    /// It was asked at `now`, and this is whether it answered.
    pub(super) fn answers(&mut self, now: Time, answers: bool) {
        *self = if answers { Card::In } else { Card::Training { ask: now + AGAIN } };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_goes_is_missed_and_comes_back() {
        let mut card = Card::default();
        assert_eq!((card.is_in(), card.next_time(), card.due(Time::ms(9))), (true, None, None));
        card = Card::removed(Time::ms(10), Removal { away: Some(Time::ms(5)), unnoticed: Time::ms(2) });
        let mut steps = Vec::new();
        while let Some(at) = card.next_time() {
            assert_eq!(card.due(Time::ps(at.as_ps() - 1)), None, "{card:?}");
            let step = card.due(at).unwrap();
            assert!(!card.is_in());
            if step == Step::Ask {
                card.answers(at, steps.len() > 2);
            }
            steps.push((at, step));
        }
        let expected = [(12, Step::Notice), (15, Step::Power), (16, Step::Ask), (17, Step::Ask)];
        let expected = expected.map(|(ms, step)| (Time::ms(ms), step));
        assert_eq!((steps, card), (expected.to_vec(), Card::In));
    }

    #[test]
    fn a_card_that_goes_for_good_is_missed_once() {
        let mut card = Card::removed(Time::ms(10), Removal { away: None, unnoticed: Time::ZERO });
        assert_eq!(card.due(Time::ms(10)), Some(Step::Notice));
        assert_eq!((card.next_time(), card.is_in()), (None, false));
    }
}
