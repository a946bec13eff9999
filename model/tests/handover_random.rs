//! Two or three users of one function who hand it over, crash and come again at random points of random traffic, and who try to answer what
//! isn't theirs. The host must not notice.

mod common;

use common::Rig;
use common::commands::plain;
use common::software::{MEMORY, Software, description};
use common::twin::{Channel, Message, user};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::Fault;
use mlx5_twin_fw_cmds::twin_v1::channel::{PRIMARY, SECONDARY};
use mlx5_twin_sim::fabric::Ticket;
use mlx5_twin_sim::host::{Access, Data};
use mlx5_twin_sim::tlp::Bdf;
use proptest::prelude::*;
use proptest::sample::Index;

const KEY: u64 = 77;
/// One page for each user there ever is.
const USERS: usize = 12;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The host writes, or reads.
    Write,
    Read,
    /// A user takes up to so many messages.
    Take(Index, u8),
    /// He frees what he has taken.
    Free(Index),
    /// He answers a request that he has taken.
    Answer(Index, Index),
    /// He answers one that another has taken.
    Meddle(Index, Index),
    /// He asks to be primary, or not to be.
    Promote(Index),
    Demote(Index),
    /// His context goes, if the function has another one. A new one comes in its place.
    Crash(Index),
    /// He gives his claim back and claims again.
    Reclaim(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        3 => Just(Step::Write),
        3 => Just(Step::Read),
        4 => (index(), 1..9_u8).prop_map(|(user, count)| Step::Take(user, count)),
        3 => index().prop_map(Step::Free),
        4 => (index(), index()).prop_map(|(user, request)| Step::Answer(user, request)),
        1 => (index(), index()).prop_map(|(user, request)| Step::Meddle(user, request)),
        3 => index().prop_map(Step::Promote),
        2 => index().prop_map(Step::Demote),
        1 => index().prop_map(Step::Crash),
        1 => index().prop_map(Step::Reclaim),
    ]
}

struct User {
    channel: Channel,
    function: u32,
    /// Requests that he has taken and not answered.
    open: Vec<Message>,
    /// Refused answers, by his own count.
    meddled: u64,
}

struct World {
    rig: Rig,
    users: Vec<User>,
    id: Bdf,
    bar: u64,
    next_page: u32,
    log_slots: u32,
    writes: u32,
    /// Numbers of writes in the order in which they were first seen.
    seen: Vec<u32>,
    tickets: Vec<Ticket>,
    /// How often each read was answered by the one who held it.
    answers: Vec<u32>,
}

impl World {
    fn new(log_slots: u32) -> World {
        let (mut rig, software) = Software::ready(log_slots, 0);
        rig.ok(&software.channel.set_key(KEY));
        let Software { channel, function, id, bar, .. } = software;
        let users = vec![User { channel, function, open: Vec::new(), meddled: 0 }];
        let (writes, seen, tickets, answers) = (0, Vec::new(), Vec::new(), Vec::new());
        let mut world = World { rig, users, id, bar, next_page: 1, log_slots, writes, seen, tickets, answers };
        world.join();
        world
    }

    /// Another user joins by the export of the first one there is.
    fn join(&mut self) {
        let uid = user(&mut self.rig);
        let of = self.users[0].channel.id;
        let key = [(tlp_channel::PRIMARY_ID, of.into()), (tlp_channel::EXPORT_KEY, KEY)];
        let channel = Channel::with(&mut self.rig, uid, self.next_page, self.log_slots, 0, &key);
        self.next_page += 1;
        self.rig.ok(&channel.set_key(KEY));
        let claim = description(channel.id, 0).1.create(uid);
        let function = self.rig.number(&claim, general_obj_out_cmd_hdr::OBJ_ID);
        self.users.push(User { channel, function, open: Vec::new(), meddled: 0 });
    }

    fn field(&mut self, user: usize, field: mlx5_twin_fw_cmds::field::Field) -> u64 {
        self.users[user].channel.field(&mut self.rig, field)
    }

    fn is_primary(&mut self, user: usize) -> bool {
        self.field(user, tlp_channel::STATE) == PRIMARY.into()
    }

    fn is_drained(&mut self, user: usize) -> bool {
        self.field(user, tlp_channel::PRODUCER_INDEX) == self.field(user, tlp_channel::CONSUMER_INDEX)
    }

    fn take(&mut self, user: usize, count: u8) {
        for _ in 0..count {
            let Some(message) = self.users[user].channel.next(&self.rig) else { return };
            if message.payload.is_empty() {
                self.users[user].open.push(message);
                continue;
            }
            let number = u32::from_le_bytes(message.payload[..].try_into().expect("a dword"));
            if self.seen.contains(&number) {
                assert!(message.is_again(), "write {number} came twice");
            } else {
                self.seen.push(number);
            }
        }
    }

    fn answer(&mut self, user: usize, request: &Message) -> u64 {
        let place = request.place.expect("a place").1 - MEMORY;
        let data = (place as u32 ^ 0x5a5a_5a5a).to_le_bytes();
        self.users[user].channel.answer(&mut self.rig, request, self.id, Ok(&data));
        place / 4
    }

    fn happen(&mut self, step: &Step) {
        let count = self.users.len();
        match step {
            Step::Write => {
                let data = Data::new(&self.writes.to_le_bytes());
                let access = Access::MemoryWrite { address: self.bar + MEMORY, data };
                self.rig.machine.simulation.access(self.rig.host(), access).expect("an access");
                self.writes += 1;
            }
            Step::Read => {
                let address = self.bar + MEMORY + 4 * self.tickets.len() as u64;
                let access = Access::MemoryRead { address, len: 4 };
                self.tickets.push(self.rig.machine.simulation.access(self.rig.host(), access).expect("an access"));
                self.answers.push(0);
            }
            Step::Take(user, most) => self.take(user.index(count), *most),
            Step::Free(user) => self.users[user.index(count)].channel.free(&mut self.rig),
            Step::Answer(user, request) => {
                let user = user.index(count);
                if !self.users[user].open.is_empty() {
                    let request = request.index(self.users[user].open.len());
                    let request = self.users[user].open.remove(request);
                    let number = self.answer(user, &request);
                    self.answers[number as usize] += 1;
                }
            }
            Step::Meddle(user, request) => {
                let user = user.index(count);
                let others = (0..count).filter(|&other| other != user);
                let others: Vec<Message> = others.flat_map(|other| self.users[other].open.clone()).collect();
                if !others.is_empty() {
                    self.answer(user, &others[request.index(others.len())]);
                    self.users[user].meddled += 1;
                }
            }
            Step::Promote(user) => {
                let user = user.index(count);
                let others: Vec<usize> = (0..count).filter(|&other| other != user).collect();
                let free = others.iter().all(|&other| !self.is_primary(other) && self.is_drained(other));
                let promoted = self.rig.outcome(&self.users[user].channel.set_state(PRIMARY)).is_ok();
                let already = !free && promoted;
                assert!(promoted == free || already && self.is_primary(user));
            }
            Step::Demote(user) => drop(self.rig.ok(&self.users[user.index(count)].channel.set_state(SECONDARY))),
            Step::Crash(user) => {
                if (self.next_page as usize) < USERS {
                    let gone = self.users.remove(user.index(count));
                    let uid = (destroy_uctx_in::UID, gone.channel.uid.into());
                    self.rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[uid]));
                    self.join();
                }
            }
            Step::Reclaim(user) => {
                let user = &mut self.users[user.index(count)];
                let object = mlx5_twin_fw_cmds::twin_v1::EMULATED_FUNCTION;
                let (uid, id) = (user.channel.uid, user.function);
                let destroy = common::commands::object(Opcode::DESTROY_GENERAL_OBJECT, uid, object, id, &[]);
                self.rig.ok(&destroy);
                user.open.clear();
                // What its ring holds of the first claim by now isn't for the second one.
                let producer = user.channel.field(&mut self.rig, tlp_channel::PRODUCER_INDEX) as u32;
                let claim = description(user.channel.id, 0).1.create(uid);
                user.function = self.rig.number(&claim, general_obj_out_cmd_hdr::OBJ_ID);
                self.drop_until(user_index(&self.users, uid), producer);
            }
        }
        self.rig.pause();
    }

    /// Passes over the messages up to this index, without looking at them.
    fn drop_until(&mut self, user: usize, index: u32) {
        while self.users[user].channel.consumer < index {
            if self.users[user].channel.next(&self.rig).is_none() {
                return;
            }
        }
    }

    /// Everything is handed to the first user, who takes and answers all.
    fn end(&mut self) {
        let count = self.users.len();
        for user in 0..count {
            self.rig.ok(&self.users[user].channel.set_state(SECONDARY));
        }
        for user in 0..count {
            self.take(user, u8::MAX);
            self.users[user].channel.free(&mut self.rig);
        }
        self.rig.pause();
        self.rig.ok(&self.users[0].channel.set_state(PRIMARY));
        self.rig.pause();
        for round in 0.. {
            let mut idle = true;
            for user in 0..count {
                let before = (self.seen.len(), self.users[user].channel.consumer);
                self.take(user, u8::MAX);
                while let Some(request) = self.users[user].open.pop() {
                    let number = self.answer(user, &request);
                    self.answers[number as usize] += 1;
                }
                self.users[user].channel.free(&mut self.rig);
                idle &= before == (self.seen.len(), self.users[user].channel.consumer);
            }
            self.rig.pause();
            if idle {
                break;
            }
            assert!(round < 1000, "it never ends");
        }
    }
}

fn user_index(users: &[User], uid: u16) -> usize {
    users.iter().position(|user| user.channel.uid == uid).expect("is there")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_host_does_not_notice(
        log_slots in 1_u32..5,
        third in any::<bool>(),
        steps in prop::collection::vec(step(), 1..90),
    ) {
        let mut world = World::new(log_slots);
        if third {
            world.join();
        }
        for step in &steps {
            world.happen(step);
        }
        world.end();
        prop_assert_eq!(&world.seen, &(0..world.writes).collect::<Vec<_>>(), "each write, in order");
        let results: Vec<_> =
            world.tickets.iter().map(|&ticket| world.rig.machine.simulation.result(ticket)).collect();
        for (number, result) in results.into_iter().enumerate() {
            let expected = Data::new(&((4 * number as u32) ^ 0x5a5a_5a5a).to_le_bytes());
            prop_assert_eq!(result, Some(Ok(expected)), "read {}", number);
        }
        prop_assert!(world.answers.iter().all(|&count| count == 1), "{:?}", world.answers);
        for user in 0..world.users.len() {
            let User { channel, meddled, .. } = &world.users[user];
            let faults = channel.faults(&mut world.rig);
            let expected = if *meddled > 0 { vec![(Fault::Request, *meddled)] } else { Vec::new() };
            prop_assert_eq!(faults, expected);
        }
        world.rig.settle();
        let fabric = world.rig.machine.simulation.fabric();
        let faults = fabric.faults();
        prop_assert_eq!((faults.unexpected_completion, faults.completion_timeout, faults.completer_abort), (0, 0, 0));
        prop_assert_eq!(fabric.in_flight(), 0);
    }
}
