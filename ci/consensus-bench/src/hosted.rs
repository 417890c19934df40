//! The driver of contenders that are plain state machines: each replica has a mailbox, and handles all
//! that lies in it before the next one's turn.

use std::collections::VecDeque;

use crate::work::{Applied, Cluster, Commands, Load, Manner, REPLICAS};

/// What the driver knows of a contender's replicas.
pub trait Replicas {
    /// What they send one another.
    type Message;

    /// Hands commands to the leader, in one go.
    fn propose(&mut self, commands: &mut Commands, count: usize, post: &mut Post<Self::Message>);

    /// Lets a replica see all messages in `mail`, and carries out what it asks for.
    fn turn(
        &mut self,
        at: usize,
        mail: &mut VecDeque<Self::Message>,
        post: &mut Post<Self::Message>,
    );

    /// No message is under way: what a replica put off until some time had passed is due.
    fn quiet(&mut self, _post: &mut Post<Self::Message>) {}

    /// All replicas have applied all that was proposed: they may forget it.
    fn checkpoint(&mut self, post: &mut Post<Self::Message>);

    /// What each has applied.
    fn applied(&self) -> [Applied; REPLICAS];
}

/// A mailbox for each replica.
#[derive(Debug)]
pub struct Post<M> {
    boxes: [VecDeque<M>; REPLICAS],
}

impl<M> Default for Post<M> {
    fn default() -> Self {
        Self { boxes: std::array::from_fn(|_| VecDeque::new()) }
    }
}

impl<M> Post<M> {
    /// Puts a message into a replica's box.
    pub fn send(&mut self, to: usize, message: M) {
        self.boxes[to].push_back(message);
    }
}

/// A cluster of such replicas.
pub struct Hosted<R: Replicas> {
    replicas: R,
    load: Load,
    commands: Commands,
    post: Post<R::Message>,
    mail: VecDeque<R::Message>,
}

impl<R: Replicas> Hosted<R> {
    /// Around replicas one of which leads, or is about to, once what lies in `post` has come.
    pub fn new(replicas: R, load: Load, post: Post<R::Message>) -> Self {
        let mut cluster = Self {
            replicas,
            load,
            commands: Commands::new(load.bytes),
            post,
            mail: VecDeque::new(),
        };
        cluster.settle();
        cluster
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) {
        self.deliver();
        self.replicas.quiet(&mut self.post);
        self.deliver();
    }

    fn deliver(&mut self) {
        while self.post.boxes.iter().any(|mail| !mail.is_empty()) {
            for at in 0..REPLICAS {
                std::mem::swap(&mut self.post.boxes[at], &mut self.mail);
                if !self.mail.is_empty() {
                    self.replicas.turn(at, &mut self.mail, &mut self.post);
                    assert!(self.mail.is_empty(), "a replica handles all its mail");
                }
            }
        }
    }
}

impl<R: Replicas> Cluster for Hosted<R> {
    fn run(&mut self, entries: usize) {
        let Load { batch, under_way, manner, .. } = self.load;
        let (times, count) = match manner {
            Manner::Alone => (under_way, batch),
            Manner::Gathered => (1, batch * under_way),
        };
        for _ in 0..entries / self.load.window() {
            for _ in 0..times {
                self.replicas.propose(&mut self.commands, count, &mut self.post);
            }
            self.settle();
        }
        self.replicas.checkpoint(&mut self.post);
        self.settle();
    }

    fn applied(&self) -> [Applied; REPLICAS] {
        self.replicas.applied()
    }
}
