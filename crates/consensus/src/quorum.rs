//! Quorums: how many voters must agree, and what a quorum agrees on.
//!
//! A group's quorums are its majorities. Any two of them share a voter, and everything that the
//! protocols promise rests on that one.

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

/// The highest value that a quorum has reached, given what each voter has reached.
///
/// # Panics
///
/// When there are no voters, or more than [`MAX_VOTERS`].
pub fn reached<T: Copy + Ord + Default>(values: impl IntoIterator<Item = T>) -> T {
    let mut all = [T::default(); MAX_VOTERS];
    let mut count = 0;
    for value in values {
        assert!(count < MAX_VOTERS, "a group has at most {MAX_VOTERS} voters");
        all[count] = value;
        count += 1;
    }
    let quorum = majority(count);
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
    fn any_two_majorities_share_a_voter() {
        for voters in 1..=MAX_VOTERS {
            assert!(2 * majority(voters) > voters);
            assert!(2 * (majority(voters) - 1) <= voters, "a majority of {voters} is too large");
        }
    }
}
