//! General objects: their commands, and what they use.

use super::*;

#[test]
fn general_objects() {
    use Opcode as Op;
    let with = |opcode, uid, field: Field, value| {
        let mut bytes = object(opcode, uid, 0, 0, 0);
        field.set(&mut bytes, value).expect("fits");
        bytes
    };
    #[rustfmt::skip]
    let cases = vec![
        ("create", object(Op::CREATE_GENERAL_OBJECT, 1, 0, 2, 1), Ok(())),
        ("with another's UMEM", object(Op::CREATE_GENERAL_OBJECT, 2, 0, 2, 0), Err(Failure::UMEM_FOREIGN)),
        ("with no UMEM", object(Op::CREATE_GENERAL_OBJECT, 2, 0, 9, 0), Err(Failure::UMEM_UNKNOWN)),
        ("with another's box", object(Op::CREATE_GENERAL_OBJECT, 2, 0, 0, 1), Err(Failure::OBJECT_FOREIGN)),
        ("too short for its kind", object(Op::CREATE_GENERAL_OBJECT, 1, 0, 0, 0)[..16].to_vec(), Err(Failure::INPUT_TOO_SHORT)),
        ("no such type", with(Op::CREATE_GENERAL_OBJECT, 1, general_obj_in_cmd_hdr::OBJ_TYPE, 0x77), Err(Failure::OBJECT_TYPE)),
        ("through a tunnel", with(Op::CREATE_GENERAL_OBJECT, 1, general_obj_in_cmd_hdr::VHCA_TUNNEL_ID, 1), Err(Failure::OBJECT_TUNNEL)),
        ("an alias", with(Op::CREATE_GENERAL_OBJECT, 1, general_obj_in_cmd_hdr::OP_PARAM, 1 << 31), Err(Failure::OBJECT_OPTION)),
        ("modify own", object(Op::MODIFY_GENERAL_OBJECT, 2, 3, 3, 0), Ok(())),
        ("modify another's", object(Op::MODIFY_GENERAL_OBJECT, 2, 1, 0, 0), Err(Failure::OBJECT_FOREIGN)),
        ("modify to another's UMEM", object(Op::MODIFY_GENERAL_OBJECT, 2, 3, 2, 0), Err(Failure::UMEM_FOREIGN)),
        ("modify to itself", object(Op::MODIFY_GENERAL_OBJECT, 2, 3, 0, 3), Err(Failure::OBJECT_UNKNOWN)),
        ("query own", object(Op::QUERY_GENERAL_OBJECT, 1, 2, 0, 0), Ok(())),
        ("query another's", object(Op::QUERY_GENERAL_OBJECT, 2, 2, 0, 0), Err(Failure::OBJECT_FOREIGN)),
        ("query none", object(Op::QUERY_GENERAL_OBJECT, 1, 9, 0, 0), Err(Failure::OBJECT_UNKNOWN)),
        ("destroy own", object(Op::DESTROY_GENERAL_OBJECT, 1, 2, 0, 0), Ok(())),
        ("destroy one in use", object(Op::DESTROY_GENERAL_OBJECT, 1, 1, 0, 0), Err(Failure::OBJECT_IN_USE)),
        ("destroy another's", object(Op::DESTROY_GENERAL_OBJECT, 2, 2, 0, 0), Err(Failure::OBJECT_FOREIGN)),
        ("the driver destroys a user's", object(Op::DESTROY_GENERAL_OBJECT, 0, 2, 0, 0), Err(Failure::OBJECT_FOREIGN)),
        ("destroy none", object(Op::DESTROY_GENERAL_OBJECT, 1, 0, 0, 0), Err(Failure::OBJECT_UNKNOWN)),
    ];
    let mut machine = furnished();
    table(&machine, cases);

    let answer = machine.ok(&object(Op::QUERY_GENERAL_OBJECT, 1, 2, 0, 0));
    assert_eq!(answer[..17], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1], "header, then the box's own");
    // Box 1 lets go of its UMEM.
    machine.ok(&object(Op::MODIFY_GENERAL_OBJECT, 1, 1, 0, 0));
    machine.ok(&naming(Op::DESTROY_UMEM, 1, destroy_umem_in::UMEM_ID, 2));
    machine.check();
    assert_eq!(NoObjects.create(BOX, 1, 0, &[], machine.firmware.resources()), Err(Failure::OBJECT_TYPE));
}

#[test]
fn general_objects_are_bounded() {
    let mut machine = Machine::initialised();
    let create = object(Opcode::CREATE_GENERAL_OBJECT, 0, 0, 0, 0);
    for _ in 0..resources::MAX_OBJECTS {
        let (executed, _) = machine.run_with(&create, 16);
        assert_eq!(executed.status, Status::OK);
    }
    assert_eq!(machine.try_run(&create), Err(Failure::OBJECT_FULL));
}

/// A kind that forgets to check what its objects use: the firmware does.
#[derive(Debug, Default)]
struct Careless(Boxes);

impl ObjectKinds for Careless {
    fn handles(&self, obj_type: ObjectType) -> bool {
        self.0.handles(obj_type)
    }

    fn create(&mut self, _: ObjectType, id: u32, _: u16, input: &[u8], _: &Resources) -> Result<(), Failure> {
        let umem = BOX_UMEM.get(input).map_err(|error| Failure::of_input(&error))? as u32;
        let other = BOX_BOX.get(input).map_err(|error| Failure::of_input(&error))? as u32;
        let driver = [Held::Uar(0x100), Held::Pd(1), Held::Eq(1), Held::TransportDomain(1), Held::Mkey(2)];
        self.0.boxes.insert(id, [Held::Umem(umem), Held::Object(other)].into_iter().chain(driver).collect());
        Ok(())
    }

    fn held(&self, obj_type: ObjectType, id: u32) -> Vec<Held> {
        self.0.held(obj_type, id)
    }

    fn query(&self, obj_type: ObjectType, id: u32, uid: u16, output: &mut [u8]) -> Result<(), Failure> {
        self.0.query(obj_type, id, uid, output)
    }

    fn modify(&mut self, _: ObjectType, _: u32, _: u16, _: &[u8], _: &Resources) -> Result<(), Failure> {
        Ok(())
    }

    fn destroy(&mut self, obj_type: ObjectType, id: u32, uid: u16) -> Result<(), Failure> {
        self.0.destroy(obj_type, id, uid)
    }
}

#[test]
fn what_an_object_uses_is_checked_and_kept() {
    let Machine { mut firmware, .. } = furnished_for_transport();
    let mut careless = Careless::default();
    let mut run = |firmware: &mut Firmware, input: &[u8]| {
        let mut output = [0; 16];
        firmware.execute(input, &mut output, &mut careless).syndrome
    };
    let before = firmware.resources().balance();
    let refused = [
        (object(Opcode::CREATE_GENERAL_OBJECT, 2, 0, 2, 1), Failure::UMEM_FOREIGN),
        (object(Opcode::CREATE_GENERAL_OBJECT, 2, 0, 3, 1), Failure::OBJECT_FOREIGN),
        (object(Opcode::CREATE_GENERAL_OBJECT, 0, 0, 1, 4), Failure::OBJECT_UNKNOWN),
        (object(Opcode::CREATE_GENERAL_OBJECT, 1, 0, 2, 1), Failure::UAR_FOREIGN),
    ];
    for (input, failure) in refused {
        assert_eq!(run(&mut firmware, &input), failure.syndrome.0, "{failure}");
        assert_eq!(firmware.resources().balance(), before);
    }

    // An object of the driver's, and one that uses all of the driver's and that object.
    let mut machine = Machine { firmware, boxes: Boxes::default() };
    machine.ok(&object(Opcode::CREATE_GENERAL_OBJECT, 0, 0, 0, 0));
    let Machine { mut firmware, .. } = machine;
    assert_eq!(run(&mut firmware, &object(Opcode::CREATE_GENERAL_OBJECT, 0, 0, 1, 4)), 0);
    #[rustfmt::skip]
    let in_use = [
        (naming(Opcode::DESTROY_UMEM, 0, destroy_umem_in::UMEM_ID, 1), Failure::UMEM_IN_USE),
        (naming(Opcode::DEALLOC_PD, 0, dealloc_pd_in::PD, 1), Failure::PD_IN_USE),
        (naming(Opcode::DEALLOC_UAR, 0, dealloc_uar_in::UAR, 0x100), Failure::UAR_IN_USE),
        (naming(Opcode::DESTROY_EQ, 0, destroy_eq_in::EQ_NUMBER, 1), Failure::EQ_IN_USE),
        (naming(Opcode::DESTROY_MKEY, 0, destroy_mkey_in::MKEY_INDEX, 2), Failure::MKEY_IN_USE),
        (naming(Opcode::DEALLOC_TRANSPORT_DOMAIN, 0, dealloc_transport_domain_in::TRANSPORT_DOMAIN, 1), Failure::TD_IN_USE),
        (object(Opcode::DESTROY_GENERAL_OBJECT, 0, 4, 0, 0), Failure::OBJECT_IN_USE),
    ];
    for (input, failure) in &in_use {
        assert_eq!(run(&mut firmware, input), failure.syndrome.0, "{failure}");
    }
    assert_eq!(run(&mut firmware, &object(Opcode::DESTROY_GENERAL_OBJECT, 0, 5, 0, 0)), 0);
    assert_eq!(firmware.resources().balance().uses, before.uses);
    // Of the others some are in use by queues.
    let free = [Failure::UMEM_IN_USE, Failure::MKEY_IN_USE, Failure::TD_IN_USE];
    for (input, _) in in_use.iter().filter(|(_, failure)| free.contains(failure)) {
        assert_eq!(run(&mut firmware, input), 0);
    }
}
