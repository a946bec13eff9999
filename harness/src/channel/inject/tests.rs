use super::*;

#[test]
fn injections_have_names() {
    for (name, mistake, _) in Mistake::ALL {
        assert_eq!(mistake.name(), name);
        let parsed: Injection = name.parse().unwrap();
        assert_eq!(parsed, Injection { mistake, when: When::Nth(1) });
        let text = format!("{name}@17");
        let parsed: Injection = text.parse().unwrap();
        assert_eq!((parsed.when, parsed.to_string()), (When::Nth(17), text));
    }
    assert_eq!("fire".parse::<Injection>(), Err(InjectionError::Name("fire".to_owned())));
    for number in ["0", "", "-1", "x", "99999999999999999999"] {
        let text = format!("wrong-tag@{number}");
        assert_eq!(text.parse::<Injection>(), Err(InjectionError::Number(number.to_owned())));
    }
    let error = InjectionError::Name("fire".to_owned()).to_string();
    assert!(error.starts_with("there is no fault \"fire\"; known faults: no-completion, two-completions"), "{error}");
}

#[test]
fn a_plan_ends_with_its_program() {
    let plan = Arc::new(Plan::default());
    let inside = || CURRENT.with_borrow(Option::is_some);
    assert!(!inside());
    assert!(while_running(&plan, inside));
    assert!(std::panic::catch_unwind(|| while_running(&plan, || panic!("as it should"))).is_err());
    assert!(!inside());
}
