use super::*;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A leader, node 1 of three, under steady load: a write each 20 ms.
struct Leader {
    steward: Steward,
    now: Time,
    writes: u64,
    /// How long its own disk takes, and how late it is called.
    own: Duration,
    late: Duration,
    /// How long the others take, as the leader sees it.
    others: BTreeMap<NodeId, Duration>,
    sight: Sight,
    words: Vec<(Time, HandOver)>,
}

fn voter(node: NodeId) -> Voter {
    Voter { node, priority: Member::DEFAULT_PRIORITY, fit: true }
}

impl Leader {
    fn new() -> Self {
        let mut steward = Steward::new(Some(Pace::default()));
        steward.begin(Time::default());
        let voters = vec![voter(TWO), voter(THREE)];
        Self {
            steward,
            now: Time::default(),
            writes: 0,
            own: ms(2),
            late: ms(0),
            others: BTreeMap::from([(TWO, ms(4)), (THREE, ms(3))]),
            sight: Sight { may: true, priority: Member::DEFAULT_PRIORITY, voters },
            words: Vec::new(),
        }
    }

    /// One that has led for long enough to be listened to.
    fn of_old() -> Self {
        let mut leader = Self::new();
        leader.runs(Duration::from_secs(40));
        assert_eq!(leader.words, [], "where all is well nothing is done");
        leader
    }

    fn runs(&mut self, time: Duration) {
        let until = self.now + time;
        let mut awaited: Vec<(Time, NodeId, u64)> = Vec::new();
        let mut next_write = self.now;
        while self.now < until {
            if self.now >= next_write {
                next_write = self.now + ms(20);
                self.writes += 1;
                self.steward.writes(PersistId(self.writes), self.now);
                awaited.push((self.now + self.own, ONE, self.writes));
                for (node, takes) in &self.others {
                    self.steward.sends(*node, LogIndex(self.writes), self.now);
                    awaited.push((self.now + *takes, *node, self.writes));
                }
            }
            let now = self.now;
            for (_, node, number) in awaited.extract_if(.., |(at, ..)| *at <= now) {
                if node == ONE {
                    self.steward.written(PersistId(number), now);
                } else {
                    self.steward.acknowledged(node, LogIndex(number), now);
                }
            }
            let due = self.steward.deadline().is_some_and(|at| at + self.late <= now);
            if due
                && self.steward.look(now)
                && let Some(word) = self.steward.judge(now, &self.sight)
            {
                self.words.push((now, word));
            }
            self.now = now + ms(1);
        }
    }

    fn heirs(&self) -> Vec<NodeId> {
        self.words.iter().map(|(_, word)| word.to).collect()
    }
}

#[test]
fn a_slow_journal_hands_over_to_the_fastest_within_seconds() {
    let mut leader = Leader::of_old();
    let begun = leader.now;
    leader.own = ms(100);
    leader.runs(Duration::from_secs(10));
    assert_eq!(leader.heirs(), [THREE]);
    let (at, word) = leader.words[0];
    assert!(at.since(begun) <= Duration::from_secs(5), "it took {:?}", at.since(begun));
    assert!(matches!(word.why, Why::Journal { own, its } if own >= ms(99) && its <= ms(4)));
    assert!(leader.steward.notice().unwrap().contains("node 3"));
}

#[test]
fn a_write_that_never_ends_is_slow() {
    let mut leader = Leader::of_old();
    leader.own = Duration::from_hours(1);
    leader.runs(Duration::from_secs(5));
    assert_eq!(leader.heirs(), [THREE]);
}

#[test]
fn one_that_is_called_late_hands_over() {
    let mut leader = Leader::of_old();
    leader.late = ms(120);
    // What it hears it hears late.
    leader.own = ms(122);
    leader.others = BTreeMap::from([(TWO, ms(124)), (THREE, ms(180))]);
    leader.runs(Duration::from_secs(8));
    assert_eq!(leader.heirs(), [TWO]);
    assert!(matches!(leader.words[0].1.why, Why::Starved { .. }), "{:?}", leader.words);
}

#[test]
fn where_all_are_called_late_one_is_as_good_as_the_other() {
    let mut leader = Leader::of_old();
    leader.late = ms(60);
    leader.own = ms(122);
    // Each of them lets the entries wait as long as the leader lets the answer wait.
    leader.others = BTreeMap::from([(TWO, ms(242)), (THREE, ms(236))]);
    leader.runs(Duration::from_mins(2));
    assert_eq!(leader.words, []);
}

#[test]
fn who_is_not_clearly_better_does_not_lead() {
    for (own, others) in [
        // All are slow.
        (ms(100), ms(90)),
        // Not five times as fast.
        (ms(100), ms(25)),
        // Faster, where nobody is slow.
        (ms(45), ms(1)),
    ] {
        let mut leader = Leader::of_old();
        leader.own = own;
        leader.others = BTreeMap::from([(TWO, others), (THREE, others)]);
        leader.runs(Duration::from_mins(1));
        assert_eq!(leader.words, [], "{own:?} beside {others:?}");
    }
}

#[test]
fn a_hiccup_is_forgiven() {
    let mut leader = Leader::of_old();
    for _ in 0..20 {
        leader.own = ms(300);
        leader.runs(ms(1500));
        leader.own = ms(2);
        leader.runs(ms(1500));
    }
    assert_eq!(leader.words, []);
}

#[test]
fn nothing_is_done_before_a_cool_down_has_passed() {
    let mut leader = Leader::new();
    leader.own = ms(200);
    leader.runs(Duration::from_secs(29));
    assert_eq!(leader.words, []);
    leader.runs(Duration::from_secs(3));
    assert_eq!(leader.heirs(), [THREE], "and then at once");
    leader.runs(Duration::from_secs(28));
    assert_eq!(leader.heirs(), [THREE], "if it does not come about it is not tried again at once");
}

#[test]
fn members_that_change_are_left_in_peace() {
    let mut leader = Leader::of_old();
    leader.sight.may = false;
    leader.own = ms(200);
    leader.sight.voters[0].priority = 9;
    leader.runs(Duration::from_secs(20));
    assert_eq!(leader.words, []);
}

#[test]
fn who_lags_or_is_silent_does_not_lead() {
    let mut leader = Leader::of_old();
    leader.own = ms(200);
    leader.sight.voters[1].fit = false;
    leader.runs(Duration::from_secs(8));
    assert_eq!(leader.heirs(), [TWO], "the faster one is not fit");
    let mut leader = Leader::of_old();
    leader.own = ms(200);
    leader.others.clear();
    leader.runs(Duration::from_secs(20));
    assert_eq!(leader.words, [], "nobody is known to be faster");
}

#[test]
fn a_node_with_priority_0_leads_only_if_there_is_no_other() {
    let mut leader = Leader::of_old();
    leader.own = ms(200);
    leader.sight.voters[1].priority = 0;
    leader.runs(Duration::from_secs(8));
    assert_eq!(leader.heirs(), [TWO], "though node 3 is faster");
    let mut leader = Leader::of_old();
    leader.own = ms(200);
    leader.sight.voters[1].priority = 0;
    leader.sight.voters[0].fit = false;
    leader.runs(Duration::from_secs(8));
    assert_eq!(leader.heirs(), [THREE]);
}

#[test]
fn leadership_goes_to_the_highest_priority() {
    let mut leader = Leader::of_old();
    leader.sight.voters[0].priority = 6;
    leader.sight.voters[1].priority = 7;
    leader.runs(ms(3500));
    assert_eq!(leader.words, [], "it must be fit for some seconds");
    leader.runs(Duration::from_secs(3));
    assert_eq!(leader.heirs(), [THREE]);
    assert_eq!(leader.words[0].1.why, Why::Priority { own: 5, its: 7 });
}

#[test]
fn equal_and_lower_priorities_move_nothing() {
    let mut leader = Leader::of_old();
    leader.sight.voters[0].priority = 4;
    leader.runs(Duration::from_mins(1));
    assert_eq!(leader.words, []);
}

#[test]
fn who_comes_and_goes_is_not_preferred() {
    let mut leader = Leader::of_old();
    leader.sight.voters[1].priority = 9;
    for _ in 0..20 {
        leader.sight.voters[1].fit = true;
        leader.runs(Duration::from_secs(4));
        leader.sight.voters[1].fit = false;
        leader.runs(Duration::from_secs(2));
    }
    assert_eq!(leader.words, []);
}

#[test]
fn a_slow_node_is_not_preferred_for_its_priority() {
    let mut leader = Leader::of_old();
    leader.others.insert(THREE, ms(400));
    leader.runs(Duration::from_secs(2));
    leader.sight.voters[1].priority = 9;
    leader.runs(Duration::from_mins(1));
    assert_eq!(leader.words, []);
    // Nor at once when it is well again, or nothing is written.
    leader.others.insert(THREE, ms(3));
    leader.runs(Duration::from_secs(100));
    assert_eq!(leader.words, []);
    leader.runs(Duration::from_secs(215));
    assert_eq!(leader.heirs(), [THREE]);
}

#[test]
fn what_comes_back_again_and_again_is_kept_for_longer_each_time() {
    let mut leader = Leader::new();
    leader.sight.voters[1].priority = 9;
    let mut held = Vec::new();
    for _ in 0..8 {
        leader.words.clear();
        let begun = leader.now;
        while leader.words.is_empty() {
            leader.runs(Duration::from_secs(1));
        }
        held.push(leader.now.since(begun).as_secs());
        leader.steward.end();
        leader.now = leader.now + Duration::from_secs(5);
        leader.steward.begin(leader.now);
    }
    assert!(held[0] <= 33 && held.is_sorted() && held[3] >= 240, "{held:?}");
    assert!(held[7] <= 32 * 30 + 5, "{held:?}");
    // One that was away for long is as good as new.
    leader.steward.end();
    leader.now = leader.now + Duration::from_hours(2);
    leader.steward.begin(leader.now);
    leader.words.clear();
    leader.runs(Duration::from_secs(33));
    assert_eq!(leader.heirs(), [THREE]);
}

#[test]
fn two_slow_nodes_do_not_pass_leadership_to_and_fro() {
    // Both take 200 ms, and so does the third.
    let mut leader = Leader::of_old();
    leader.own = ms(200);
    leader.others = BTreeMap::from([(TWO, ms(200)), (THREE, ms(210))]);
    leader.runs(Duration::from_mins(5));
    assert_eq!(leader.words, []);
}

#[test]
fn one_that_is_switched_off_never_hands_over() {
    let mut leader = Leader::new();
    leader.steward = Steward::new(None);
    leader.steward.begin(leader.now);
    leader.own = ms(500);
    leader.sight.voters[0].priority = 9;
    leader.runs(Duration::from_mins(1));
    assert_eq!(leader.words, []);
    assert_eq!(leader.steward.deadline(), None);
}

#[test]
fn the_notice_ends() {
    let mut leader = Leader::of_old();
    leader.own = ms(200);
    leader.runs(Duration::from_secs(5));
    leader.steward.end();
    let until = leader.steward.deadline().expect("the notice is told until then");
    assert!(leader.steward.notice().is_some());
    leader.steward.look(until);
    assert_eq!((leader.steward.notice(), leader.steward.deadline()), (None, None));
}
