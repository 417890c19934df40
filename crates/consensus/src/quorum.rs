//! Quorums: how many voters must agree, and what a quorum agrees on.
//!
//! A group's quorums are its majorities. Any two of them share a voter, and everything that the
//! protocols promise rests on that one. Paxos needs less: only a quorum that promises and one that
//! accepts must share a voter, so their sizes may differ (Howard et al., *Flexible Paxos*, 2016).

/// The most voters that a group may have. More would only be slower: each further one widens the
/// quorum, and nine already survive the loss of four.
pub const MAX_VOTERS: usize = 9;

/// The size of the smallest quorum of so many voters.
///
/// # Panics
///
/// When there are no voters: nobody can decide then.
pub const fn majority(voters: usize) -> usize {
    assert!(voters > 0, "a group has at least one voter");
    voters / 2 + 1
}

/// How many voters make a quorum in each phase of Paxos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorums {
    /// So many must promise a ballot before its proposer leads.
    pub phase1: usize,
    /// So many must accept a proposal before it is chosen.
    pub phase2: usize,
}

impl Quorums {
    /// A majority of so many voters for each phase.
    pub const fn majorities(voters: usize) -> Self {
        Self { phase1: majority(voters), phase2: majority(voters) }
    }

    /// Whether each quorum of one phase shares a voter with each of the other, and both exist.
    pub const fn meet(self, voters: usize) -> bool {
        let exist = self.phase1 >= 1 && self.phase2 >= 1;
        let exist = exist && self.phase1 <= voters && self.phase2 <= voters;
        exist && self.phase1 + self.phase2 > voters
    }

    pub(crate) fn check(self, voters: usize) {
        assert!(self.meet(voters), "quorums of {self:?} do not meet among {voters} voters");
    }
}

/// The highest value that a majority has reached, given what each voter has reached.
///
/// # Panics
///
/// When there are no voters, or more than [`MAX_VOTERS`].
pub fn reached<T: Copy + Ord + Default>(values: impl IntoIterator<Item = T>) -> T {
    reached_by_quorum(values, majority)
}

/// The highest value that `size` voters have reached, given what each voter has reached.
///
/// # Panics
///
/// When there are fewer voters than `size`, or more than [`MAX_VOTERS`], or `size` is 0.
pub fn reached_by<T: Copy + Ord + Default>(values: impl IntoIterator<Item = T>, size: usize) -> T {
    assert!(size > 0, "nobody decides nothing");
    reached_by_quorum(values, |_| size)
}

fn reached_by_quorum<T: Copy + Ord + Default>(
    values: impl IntoIterator<Item = T>,
    size: impl Fn(usize) -> usize,
) -> T {
    let mut all = [T::default(); MAX_VOTERS];
    let mut count = 0;
    for value in values {
        assert!(count < MAX_VOTERS, "a group has at most {MAX_VOTERS} voters");
        all[count] = value;
        count += 1;
    }
    let quorum = size(count);
    let all = &mut all[..count];
    all.sort_unstable();
    all[count - quorum]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `check` with each vector of `voters` values below `limit`.
    fn each_vector(voters: usize, limit: u64, check: &mut dyn FnMut(&[u64])) {
        let total = limit.pow(u32::try_from(voters).unwrap());
        for mut number in 0..total {
            let mut values = Vec::with_capacity(voters);
            for _ in 0..voters {
                values.push(number % limit);
                number /= limit;
            }
            check(&values);
        }
    }

    #[test]
    fn reached_is_the_highest_value_that_a_majority_has() {
        for voters in 1..=5 {
            each_vector(voters, 5, &mut |values| {
                let have = |value| values.iter().filter(|v| **v >= value).count();
                let model = (0..5).filter(|v| have(*v) > voters / 2).max().unwrap();
                assert_eq!(reached(values.iter().copied()), model, "{values:?}");
            });
        }
    }

    #[test]
    fn reached_by_is_the_highest_value_that_so_many_have() {
        for voters in 1..=4 {
            for size in 1..=voters {
                each_vector(voters, 4, &mut |values| {
                    let have = |value| values.iter().filter(|v| **v >= value).count();
                    let model = (0..4).filter(|v| have(*v) >= size).max().unwrap();
                    assert_eq!(reached_by(values.iter().copied(), size), model, "{values:?}");
                });
            }
        }
    }

    /// By brute force over all sets of voters.
    #[test]
    fn quorums_meet_if_each_two_sets_share_a_voter() {
        for voters in 1..=5_usize {
            for (phase1, phase2) in
                (0..=voters + 1).flat_map(|a| (0..=voters + 1).map(move |b| (a, b)))
            {
                let sets = |size: usize| {
                    (0..1_u32 << voters).filter(move |set| set.count_ones() as usize == size)
                };
                let exist = sets(phase1).any(|set| set != 0) && sets(phase2).any(|set| set != 0);
                let meet = sets(phase1).all(|one| sets(phase2).all(|other| one & other != 0));
                assert_eq!(Quorums { phase1, phase2 }.meet(voters), exist && meet);
            }
            assert!(Quorums::majorities(voters).meet(voters));
        }
    }

    #[test]
    fn any_two_majorities_share_a_voter() {
        for voters in 1..=MAX_VOTERS {
            assert!(2 * majority(voters) > voters);
            assert!(2 * (majority(voters) - 1) <= voters, "a majority of {voters} is too large");
        }
    }
}
