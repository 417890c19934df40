//! Rare paths, opened on purpose: branches of this crate that healthy days never take.
//!
//! A refusal, an early flush or a lost message is always allowed to happen, so that a simulation may
//! have it happen whenever it likes: bugs live where nobody walks. Only what the protocol must get
//! over anyway stands here, and nothing that applying a command depends on.
//!
//! In production all are closed, and one comparison is what they cost.
//!
//! # Reference
//!
//! The idea is `BUGGIFY` of `FoundationDB` (Zhou et al., SIGMOD 2021, §4.2).

/// A branch that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// A command is refused as busy.
    BusyRefusal,
    /// A flush begins although little has gathered.
    EarlyFlush,
    /// A follower lets its leader's entries pass by.
    DroppedAppend,
    /// A page or a batch of a watch ends after its first item.
    SmallPage,
    /// A snapshot that is being fetched from here is let go.
    LostFeed,
    /// Leadership is handed over.
    HandOver,
}

/// Which paths are open, and how often they are taken.
#[derive(Clone, Debug)]
pub struct Rare {
    /// How many times as often as seldom; 0 is never.
    zeal: u64,
    chance: u64,
}

impl Rare {
    /// None is ever taken: production.
    pub const fn closed() -> Self {
        Self { zeal: 0, chance: 0 }
    }

    /// All are, by the chance of this seed: `zeal` times as often as seldom.
    pub const fn opened(seed: u64, zeal: u64) -> Self {
        Self { zeal, chance: seed }
    }

    /// Whether this path is taken now.
    pub(crate) fn opens(&mut self, path: Path) -> bool {
        self.zeal > 0 && self.draw() % 10_000 < self.zeal * often(path)
    }

    /// `SplitMix64`: Steele, Lea and Flood, OOPSLA 2014.
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Times in ten thousand, at the least zeal.
fn often(path: Path) -> u64 {
    match path {
        Path::BusyRefusal | Path::DroppedAppend | Path::SmallPage => 50,
        Path::EarlyFlush | Path::LostFeed => 10,
        Path::HandOver => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_takes_no_rare_path_and_a_zealous_test_takes_each() {
        let paths = [
            Path::BusyRefusal,
            Path::EarlyFlush,
            Path::DroppedAppend,
            Path::SmallPage,
            Path::LostFeed,
            Path::HandOver,
        ];
        for path in paths {
            let taken = |mut rare: Rare| (0..20_000).filter(|_| rare.opens(path)).count();
            assert_eq!(taken(Rare::closed()), 0, "{path:?}");
            let (seldom, often) = (taken(Rare::opened(7, 4)), taken(Rare::opened(7, 40)));
            assert!(0 < seldom && seldom < often && often < 20_000, "{path:?}: {seldom}, {often}");
        }
    }
}
