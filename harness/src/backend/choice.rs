//! Which backend a user names on the command line.

use std::fmt;
use std::sync::Arc;

use super::{Backend, Error, Stop, uverbs, vfio};

/// A backend, and perhaps a device of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `sim`: the model in this process.
    Sim,
    /// `uverbs`, `uverbs:mlx5_0`: a device of the kernel's driver, the first one if none is named.
    Uverbs(Option<String>),
    /// `vfio`, `vfio:0000:00:05.0`: a PCI function that this process drives itself, the only one that is bound to vfio-pci if none is named.
    Vfio(Option<String>),
}

/// The names, and what may follow them after a colon.
const FORMS: &[(&str, Option<&str>)] = &[("sim", None), ("uverbs", Some("mlx5_0")), ("vfio", Some("0000:00:05.0"))];

impl Choice {
    /// The backend of that name.
    ///
    /// # Errors
    /// There's none: a message that lists those there are.
    pub fn parse(text: &str) -> Result<Choice, String> {
        let (name, device) = text.split_once(':').map_or((text, None), |(name, device)| (name, Some(device)));
        let device = device.map(str::to_owned);
        match (name, device) {
            (_, Some(device)) if device.is_empty() => {
                Err(format!("--backend {text}: no device is named after the colon"))
            }
            ("sim", None) => Ok(Choice::Sim),
            ("uverbs", device) => Ok(Choice::Uverbs(device)),
            ("vfio", device) => Ok(Choice::Vfio(device)),
            _ => {
                let form = |(name, example): &(&str, Option<&str>)| {
                    example.map_or_else(|| (*name).to_owned(), |example| format!("{name}[:{example}]"))
                };
                let known: Vec<_> = FORMS.iter().map(form).collect();
                Err(format!("there is no backend {text:?}; known backends: {}", known.join(", ")))
            }
        }
    }

    /// Opens a context of the device. `stop` ends its waits. `None` for [`Choice::Sim`], whose device isn't there before its machine is built.
    ///
    /// # Errors
    /// There's no such device, or it refuses.
    pub fn open(&self, stop: Stop) -> Result<Option<Arc<dyn Backend>>, Error> {
        match self {
            Choice::Sim => Ok(None),
            Choice::Uverbs(name) => {
                let context = uverbs::Device::open(name.as_deref(), stop)?.open_context()?;
                Ok(Some(Arc::new(context)))
            }
            // The driver lives as long as its contexts.
            Choice::Vfio(address) => Ok(Some(vfio::Device::open(address.as_deref(), stop)?.open_context()?)),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, device) = match self {
            Choice::Sim => ("sim", &None),
            Choice::Uverbs(device) => ("uverbs", device),
            Choice::Vfio(device) => ("vfio", device),
        };
        write!(f, "{name}")?;
        device.as_ref().map_or(Ok(()), |device| write!(f, ":{device}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_shown() {
        let device = |name: &str| Some(name.to_owned());
        for (text, choice) in [
            ("sim", Choice::Sim),
            ("uverbs", Choice::Uverbs(None)),
            ("uverbs:mlx5_0", Choice::Uverbs(device("mlx5_0"))),
            ("vfio", Choice::Vfio(None)),
            ("vfio:0000:00:05.0", Choice::Vfio(device("0000:00:05.0"))),
        ] {
            assert_eq!(Choice::parse(text), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn others_are_refused() {
        let known = "known backends: sim, uverbs[:mlx5_0], vfio[:0000:00:05.0]";
        for text in ["", "steam", "sim:0", "Uverbs", ":mlx5_0"] {
            let error = Choice::parse(text).expect_err(text);
            assert_eq!(error, format!("there is no backend {text:?}; {known}"));
        }
        assert!(Choice::parse("uverbs:").expect_err("no device").contains("no device is named"));
    }
}
