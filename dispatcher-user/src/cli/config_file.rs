//! Reads configuration files and the secrets that they name.

use std::path::{Path, PathBuf};

use dispatcher_core::{
    config::{BackConfig, ConfigError, FrontConfig, Role, SecretSource},
    member::MemberTable,
    secret::{Secret, SecretTooShort},
};
use thiserror::Error;

use crate::{
    front::{self, members::MembersError},
    text_file::{Unreadable, read},
};

/// A file cannot be used.
#[derive(Debug, Error)]
pub(super) enum FileError {
    /// For the operator.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// For the operator.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// For the operator.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// For the operator.
    #[error("{}: {source}", .path.display())]
    Secret {
        path: PathBuf,
        #[source]
        source: SecretTooShort,
    },
}

pub(super) fn front(file: &Path) -> Result<(FrontConfig, Secret), FileError> {
    let config = FrontConfig::parse(&read(file)?, &file.display().to_string())?;
    let secret = secret(file, &config.secret)?;
    Ok((config, secret))
}

pub(super) fn back(file: &Path) -> Result<(BackConfig, Secret), FileError> {
    let config = BackConfig::parse(&read(file)?, &file.display().to_string())?;
    let secret = secret(file, &config.secret)?;
    Ok((config, secret))
}

/// The member-tables of the services; paths of their files are relative to the configuration.
pub(super) fn members(
    file: &Path,
    config: &FrontConfig,
    secret: &Secret,
) -> Result<Vec<MemberTable>, FileError> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let tables = config.services.iter().map(|service| front::members::read(service, secret, directory));
    Ok(tables.collect::<Result<_, _>>()?)
}

/// One line about a file that is in order.
pub(super) fn check(file: &Path) -> Result<String, FileError> {
    let name = file.display();
    match Role::detect(&read(file)?) {
        Role::Front => {
            let (config, secret) = front(file)?;
            let tables = members(file, &config, &secret)?;
            let rules: usize = tables.iter().map(|table| table.rules().len()).sum();
            let servers = counted(config.servers.len(), "server");
            let services = counted(config.services.len(), "service");
            let members =
                if rules > 0 { format!(", {}", counted(rules, "member rule")) } else { String::new() };
            Ok(format!("{name}: ok, front-end with {servers}, {services}{members}"))
        }
        Role::Back => {
            let (config, _) = back(file)?;
            let services = counted(config.services.len(), "service");
            Ok(format!("{name}: ok, agent of {} with {services}", config.name))
        }
    }
}

/// A secret file's path is relative to the configuration that names it.
fn secret(config: &Path, source: &SecretSource) -> Result<Secret, FileError> {
    match source {
        SecretSource::Here(secret) => Ok(secret.clone()),
        SecretSource::File(path) => {
            let path = config.parent().unwrap_or(Path::new("")).join(path);
            Secret::new(&read(&path)?).map_err(|source| FileError::Secret { path, source })
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FRONT: &str = "interface = \"eth0\"\n[[server]]\nname = \"server1\"\naddress = \"198.18.0.11\"\n\
        [[service]]\nname = \"web\"\nvip = [\"198.18.0.100\"]\nport = 80\n";

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dispatcher-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_good_file_is_summed_up() {
        let directory = Directory::new("good");
        directory.write("secret", "0123456789abcdef\n");
        let front = directory.write("front.toml", &format!("secret_file = \"secret\"\n{FRONT}"));
        let text = check(&front).unwrap();
        assert!(text.ends_with("front.toml: ok, front-end with 1 server, 1 service"), "{text}");
        let back = directory.write(
            "back.toml",
            "secret_file = \"secret\"\ninterface = \"eth0\"\nname = \"server1\"\nreport_to = [\"198.18.0.2:7180\"]\n\
             [[service]]\nvip = [\"198.18.0.100\"]\nport = 80\n",
        );
        let text = check(&back).unwrap();
        assert!(text.ends_with("back.toml: ok, agent of server1 with 1 service"), "{text}");
    }

    #[test]
    fn the_rules_of_a_service_are_checked_with_it() {
        let directory = Directory::new("members");
        let text = format!("secret = \"0123456789abcdef\"\n{FRONT}members = \"members\"\n");
        let file = directory.write("front.toml", &text);
        assert!(check(&file).unwrap_err().to_string().contains("members: No such file"));
        directory.write("members", "198.18.0.0/16 * - 5\n# nobody\n198.19.0.0/16 4147 plan=gold 7\n");
        assert!(check(&file).unwrap().ends_with("1 service, 2 member rules"));
        directory.write("members", "198.18.0.0/16 * - 5\n198.19.0.0/16 * - 9\n");
        let text = check(&file).unwrap_err().to_string();
        assert!(text.contains("members:2: "), "{text}");
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_a_secret_with_its_file() {
        let directory = Directory::new("bad");
        let file =
            directory.write("front.toml", &format!("secret = \"0123456789abcdef\"\ncolour = 1\n{FRONT}"));
        let text = check(&file).unwrap_err().to_string();
        assert!(text.contains("front.toml:2: ") && text.contains("colour"), "{text}");
        let file = directory.write("short.toml", &format!("secret_file = \"short\"\n{FRONT}"));
        assert!(check(&file).unwrap_err().to_string().contains("short: No such file"));
        directory.write("short", "abc");
        let text = check(&file).unwrap_err().to_string();
        assert!(text.contains("short: secret has 3 bytes"), "{text}");
    }
}
