//! A raw user of `twin-v1` (`harness/PROTOCOL.md`): the ring, the gateway page and the two objects, byte by byte.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{
    EMULATED_FUNCTION, Fault, MODIFY_EMULATED_REGION, QUERY_EMULATED_REGION, TLP_CHANNEL, channel as numbers, gateway,
    message, region,
};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, Header, Kind, Status};

use super::Rig;
use super::commands::{create_umem, object, plain};

/// A message of a ring.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) function: u8,
    pub(crate) request: u32,
    pub(crate) sequence: u32,
    /// What happened, if it's an event of the link or a hot-plug state.
    pub(crate) event: u32,
    /// BAR and offset, if the message has them.
    pub(crate) place: Option<(u8, u64)>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// The header of the TLP.
    pub(crate) fn header(&self) -> Header {
        assert_eq!(self.kind, message::TLP);
        let len = tlp_message::HEADER_LEN.get(&self.head).expect("is there") as usize;
        Header::decode(&tlp_message::HEADER.slice(&self.head).expect("is there")[..len]).expect("a sound header")
    }

    pub(crate) fn is_credit(&self) -> bool {
        self.kind == message::CREDIT
    }

    /// Whether another channel's software had it before.
    pub(crate) fn is_again(&self) -> bool {
        self.flags & message::REDELIVERED != 0
    }

    /// Number, value, BAR and offset, and time of a message that tells of a write.
    pub(crate) fn notice(&self) -> Option<Notice> {
        let field = |field: Field| field.get(&self.head).expect("is there");
        let is_notice = matches!(self.kind, message::DOORBELL | message::REGION_WRITTEN);
        is_notice.then(|| Notice {
            kind: self.kind,
            number: field(notice_message::NUMBER) as u32,
            value: field(notice_message::VALUE) as u32,
            place: (field(notice_message::BAR) as u8, field(notice_message::BAR_OFFSET)),
            time: Time(field(notice_message::TIME_PS)),
        })
    }
}

/// What a message that tells of a write says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) kind: u8,
    pub(crate) number: u32,
    pub(crate) value: u32,
    /// BAR and offset.
    pub(crate) place: (u8, u64),
    pub(crate) time: Time,
}

/// The context of a channel.
pub(crate) fn channel_context(fields: &[(Field, u64)]) -> Vec<u8> {
    let mut context = vec![0; tlp_channel::SIZE];
    tlp_channel::VERSION.set(&mut context, 1).expect("fits");
    for (field, value) in fields {
        field.set(&mut context, *value).expect("fits");
    }
    context
}

/// A channel with its ring.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: u32,
    pub(crate) uid: u16,
    pub(crate) page: u32,
    pub(crate) umem: u32,
    pub(crate) ring: u64,
    pub(crate) log_slots: u32,
    pub(crate) log_stride: u32,
    pub(crate) consumer: u32,
}

impl Channel {
    /// A channel of user context `uid` on gateway page `page`.
    pub(crate) fn new(rig: &mut Rig, uid: u16, page: u32, log_slots: u32, credits: u16) -> Channel {
        Channel::with(rig, uid, page, log_slots, credits, &[])
    }

    /// The same, with further fields of its context.
    pub(crate) fn with(
        rig: &mut Rig,
        uid: u16,
        page: u32,
        log_slots: u32,
        credits: u16,
        fields: &[(Field, u64)],
    ) -> Channel {
        let log_stride = 9;
        let len = 1_usize << (log_slots + log_stride);
        let ring = rig.pages(len);
        let umem = rig.number(&create_umem(uid, ring, len.div_ceil(4096)), create_umem_out::UMEM_ID);
        let own = [
            (tlp_channel::LOG_RING_SLOTS, log_slots.into()),
            (tlp_channel::LOG_SLOT_STRIDE, log_stride.into()),
            (tlp_channel::GATEWAY_PAGE_ID, page.into()),
            (tlp_channel::RING_UMEM_ID, umem.into()),
            (tlp_channel::CREDITS, credits.into()),
        ];
        let context = channel_context(&[&own, fields].concat());
        let create = object(Opcode::CREATE_GENERAL_OBJECT, uid, TLP_CHANNEL, 0, &context);
        let id = rig.number(&create, general_obj_out_cmd_hdr::OBJ_ID);
        Channel { id, uid, page, umem, ring, log_slots, log_stride, consumer: 0 }
    }

    /// The next message, if it's there. Its slot isn't freed yet.
    pub(crate) fn next(&mut self, rig: &Rig) -> Option<Message> {
        let slot = self.ring + (u64::from(self.consumer & ((1 << self.log_slots) - 1)) << self.log_stride);
        let owner = u32::from(rig.peek(slot + 63, 1)[0] & 1);
        if owner != 1 - (self.consumer >> self.log_slots & 1) {
            return None;
        }
        let head = rig.peek(slot, 64);
        let field = |field: Field| field.get(&head).expect("is there");
        let flags = field(tlp_message::FLAGS) as u8;
        let place = (field(tlp_message::BAR) as u8, field(tlp_message::BAR_OFFSET));
        let message = Message {
            kind: field(tlp_message::KIND) as u8,
            flags,
            function: field(tlp_message::FUNCTION) as u8,
            request: field(tlp_message::REQUEST_ID) as u32,
            sequence: field(tlp_message::SEQUENCE) as u32,
            event: field(tlp_message::EVENT) as u32,
            place: (flags & message::IN_BAR != 0).then_some(place),
            payload: rig.peek(slot + 64, field(tlp_message::PAYLOAD_LEN) as usize),
            head,
        };
        assert_eq!(message.sequence, self.consumer, "the message's number");
        self.consumer += 1;
        Some(message)
    }

    // --- The gateway page ---

    /// A store to the channel's page of the machine's window at 32 MiB.
    pub(crate) fn store(&self, rig: &mut Rig, offset: u64, bytes: &[u8]) {
        rig.store(0x200_0000 + u64::from(self.page) * 4096 + offset, bytes);
    }

    /// Frees the slots of what was taken.
    pub(crate) fn free(&self, rig: &mut Rig) {
        self.store(rig, gateway::CONSUMER, &(self.consumer & gateway::INDEX_MASK).to_be_bytes());
    }

    /// The same, and asks for an event.
    pub(crate) fn arm(&self, rig: &mut Rig) {
        self.store(rig, gateway::ARM, &(self.consumer & gateway::INDEX_MASK).to_be_bytes());
    }

    /// Stages header and payload.
    pub(crate) fn stage(&self, rig: &mut Rig, header: &Header, payload: &[u8]) {
        let mut raw = [0; 16];
        let len = header.encode(&mut raw);
        for (number, dword) in raw[..len].chunks(4).enumerate() {
            self.store(rig, gateway::HEADER + 4 * number as u64, dword);
        }
        for (number, part) in payload.chunks(8).enumerate() {
            self.store(rig, gateway::PAYLOAD + 8 * number as u64, part);
        }
    }

    pub(crate) fn post(&self, rig: &mut Rig, kind: u8, function: u8, length: usize, id: u32) {
        let mut post = [0; gateway_post::SIZE];
        for (field, value) in [
            (gateway_post::KIND, u64::from(kind)),
            (gateway_post::FUNCTION, u64::from(function)),
            (gateway_post::LENGTH, length as u64),
            (gateway_post::ID, u64::from(id)),
        ] {
            field.set(&mut post, value).expect("fits");
        }
        self.store(rig, gateway::POST, &post);
    }

    /// Stages and posts.
    pub(crate) fn send(&self, rig: &mut Rig, kind: u8, function: u8, id: u32, header: &Header, payload: &[u8]) {
        self.stage(rig, header, payload);
        self.post(rig, kind, function, payload.len(), id);
    }

    /// Answers a request: with `data` (whole dwords), or with a status.
    pub(crate) fn answer(&self, rig: &mut Rig, request: &Message, completer: Bdf, answer: Result<&[u8], Status>) {
        let asked = request.header();
        let (status, data) = answer.map_or_else(|status| (status, &[][..]), |data| (Status::Successful, data));
        let header = Header::completion_for(&asked, completer, status).expect("a completion");
        self.send(rig, gateway::COMPLETION, request.function, request.request, &header, data);
    }

    // --- What the channel's object says ---

    pub(crate) fn query(&self, rig: &mut Rig) -> Vec<u8> {
        let query = object(Opcode::QUERY_GENERAL_OBJECT, self.uid, TLP_CHANNEL, self.id, &[]);
        rig.ok(&query)[16..].to_vec()
    }

    pub(crate) fn field(&self, rig: &mut Rig, field: Field) -> u64 {
        field.get(&self.query(rig)).expect("is there")
    }

    /// The faults so far: number and count, without those that never came.
    pub(crate) fn faults(&self, rig: &mut Rig) -> Vec<(Fault, u64)> {
        let context = self.query(rig);
        let count = |fault: Fault| tlp_channel::FAULTS.get(&context, fault as usize).expect("is there");
        let all = Fault::ALL.map(|fault| (fault, count(fault)));
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn destroy(&self) -> Vec<u8> {
        object(Opcode::DESTROY_GENERAL_OBJECT, self.uid, TLP_CHANNEL, self.id, &[])
    }

    // --- Hand-over ---

    /// MODIFY_GENERAL_OBJECT with these fields.
    pub(crate) fn modify(&self, select: u64, fields: &[(Field, u64)]) -> Vec<u8> {
        let context = channel_context(&[&[(tlp_channel::MODIFY_FIELD_SELECT, select)], fields].concat());
        object(Opcode::MODIFY_GENERAL_OBJECT, self.uid, TLP_CHANNEL, self.id, &context)
    }

    pub(crate) fn set_state(&self, state: u8) -> Vec<u8> {
        self.modify(numbers::SELECT_STATE, &[(tlp_channel::STATE, state.into())])
    }

    pub(crate) fn set_key(&self, key: u64) -> Vec<u8> {
        self.modify(numbers::SELECT_EXPORT_KEY, &[(tlp_channel::EXPORT_KEY, key)])
    }
}

/// What a function is created with.
#[derive(Clone, Debug, Default)]
pub(crate) struct FunctionSpec {
    pub(crate) channel: u32,
    pub(crate) port: u8,
    /// By number: kind and log2 of the size.
    pub(crate) bars: [(u8, u8); 6],
    /// Kind, BAR, offset and length.
    pub(crate) regions: Vec<(u8, u8, u32, u64)>,
    /// Numbers of the regions that notify.
    pub(crate) notify: Vec<usize>,
    pub(crate) rom_log_size: u8,
    pub(crate) vectors: u16,
    pub(crate) msix_offset: u16,
    pub(crate) pcie_offset: u16,
    pub(crate) pm_offset: u16,
    pub(crate) no_soft_reset: bool,
}

impl FunctionSpec {
    pub(crate) fn context(&self) -> Vec<u8> {
        let mut context = vec![0; emulated_function::SIZE];
        for (field, value) in [
            (emulated_function::CHANNEL_ID, u64::from(self.channel)),
            (emulated_function::PORT, self.port.into()),
            (emulated_function::NUM_MSIX, self.vectors.into()),
            (emulated_function::MSIX_CAP_OFFSET, self.msix_offset.into()),
            (emulated_function::PCIE_CAP_OFFSET, self.pcie_offset.into()),
            (emulated_function::PM_CAP_OFFSET, self.pm_offset.into()),
            (emulated_function::NO_SOFT_RESET, self.no_soft_reset.into()),
            (emulated_function::NUM_REGIONS, self.regions.len() as u64),
            (emulated_function::ROM_LOG_SIZE, self.rom_log_size.into()),
        ] {
            field.set(&mut context, value).expect("fits");
        }
        for (number, (kind, log_size)) in self.bars.into_iter().enumerate() {
            let base = emulated_function::BARS.bits() + 32 * number as u32;
            emulated_bar::KIND.within(base).set(&mut context, kind.into()).expect("fits");
            emulated_bar::LOG_SIZE.within(base).set(&mut context, log_size.into()).expect("fits");
        }
        for (number, (kind, bar, offset, length)) in self.regions.iter().copied().take(16).enumerate() {
            let base = emulated_function::REGIONS.bits() + 128 * number as u32;
            for (field, value) in [
                (emulated_region::KIND, kind.into()),
                (emulated_region::BAR, bar.into()),
                (emulated_region::OFFSET, u64::from(offset)),
                (emulated_region::LENGTH, length),
                (emulated_region::FLAGS, u64::from(self.notify.contains(&number)) * u64::from(region::NOTIFY)),
            ] {
                field.within(base).set(&mut context, value).expect("fits");
            }
        }
        context
    }

    pub(crate) fn create(&self, uid: u16) -> Vec<u8> {
        object(Opcode::CREATE_GENERAL_OBJECT, uid, EMULATED_FUNCTION, 0, &self.context())
    }
}

/// Reads bytes that the device keeps of a function: of a region, from an offset on.
pub(crate) fn query_region(uid: u16, function: u32, region: u64, offset: u64, length: u64) -> Vec<u8> {
    use query_emulated_region_in::{FUNCTION, LENGTH, OFFSET, REGION};
    let fields = [(FUNCTION, function.into()), (REGION, region), (OFFSET, offset), (LENGTH, length)];
    plain(QUERY_EMULATED_REGION, uid, &fields)
}

/// Sets them.
pub(crate) fn modify_region(uid: u16, function: u32, scope: u16, region: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    use modify_emulated_region_in::{FUNCTION, LENGTH, OFFSET, OP_MOD, REGION};
    let fields = [
        (OP_MOD, scope.into()),
        (FUNCTION, function.into()),
        (REGION, region),
        (OFFSET, offset),
        (LENGTH, bytes.len() as u64),
    ];
    let mut command = plain(MODIFY_EMULATED_REGION, uid, &fields);
    command.extend_from_slice(bytes);
    command
}

/// Makes a user context.
pub(crate) fn user(rig: &mut Rig) -> u16 {
    rig.number(&plain(Opcode::CREATE_UCTX, 0, &[]), create_uctx_out::UID) as u16
}

/// Whether a TLP waits for an answer.
pub(crate) fn is_answered(header: &Header) -> bool {
    matches!(header.kind(), Kind::CfgRd0 | Kind::CfgWr0 | Kind::MRd32 | Kind::MRd64)
}
