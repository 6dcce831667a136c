//! Configuration files of the dispatcher's roles as the rig writes them, with a hook to alter the text.

use std::{fmt, fmt::Write as _, sync::Arc};

use crate::plan::{Family, Plan};

/// UDP port of the reports from servers to front-end.
const REPORT_PORT: u16 = 7180;

/// Changes a configuration's text before it is written.
pub type Alter = Arc<dyn Fn(&mut String) + Send + Sync>;

/// How the front-end of a rig is to run.
#[derive(Clone)]
pub struct FrontOptions {
    /// `native` or `skb`.
    pub mode: String,
    /// `context` or `round-robin`.
    pub policy: String,
    /// `sticky`, `faithful`, `replicated` or `weighted`; written for `context` only.
    pub table: String,
    /// `48x` or a duration.
    pub load_threshold: String,
    /// Number of hash classes.
    pub classes: u32,
    /// Lines for the end of the file, right after the one `[[service]]`: rules, or further services.
    pub more: String,
    /// Arguments after `front --config F`.
    pub arguments: Vec<String>,
    /// Changes the text last of all; see the method of the same name.
    pub alter: Option<Alter>,
}

/// How the agent of a server is to run.
#[derive(Clone, Default)]
pub struct BackOptions {
    /// Arguments after `back --config F`.
    pub arguments: Vec<String>,
    /// Changes the text last of all; see the method of the same name.
    pub alter: Option<Alter>,
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            mode: "native".to_owned(),
            policy: "context".to_owned(),
            table: "sticky".to_owned(),
            load_threshold: "48x".to_owned(),
            classes: 20,
            more: String::new(),
            arguments: Vec::new(),
            alter: None,
        }
    }
}

impl FrontOptions {
    /// Changes the configuration's text before it is written.
    #[must_use]
    pub fn alter(mut self, change: impl Fn(&mut String) + Send + Sync + 'static) -> Self {
        self.alter = Some(Arc::new(change));
        self
    }
}

impl BackOptions {
    /// Changes the configuration's text before it is written.
    #[must_use]
    pub fn alter(mut self, change: impl Fn(&mut String) + Send + Sync + 'static) -> Self {
        self.alter = Some(Arc::new(change));
        self
    }
}

impl fmt::Debug for FrontOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontOptions")
            .field("mode", &self.mode)
            .field("policy", &self.policy)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BackOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackOptions").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

pub(crate) fn front_text(plan: &Plan, options: &FrontOptions) -> String {
    let mut text = format!(
        "# Written by the rig.\nsecret = \"{secret}\"\ninterface = \"eth0\"\n{arm}mode = \"{mode}\"\n\
         pin_path = \"{pins}\"\ncontrol_socket = \"{socket}\"\nreport_listen = \"[::]:{REPORT_PORT}\"\n",
        secret = secret(plan),
        arm = if plan.two_arm() { "server_interface = \"eth1\"\n" } else { "" },
        mode = options.mode,
        pins = plan.pin_path("front").display(),
        socket = plan.control_socket("front").display(),
    );
    for name in plan.server_names() {
        let address = plan.address(&name, Family::V4);
        let _ = write!(text, "\n[[server]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    let _ = write!(text, "\n{}policy = \"{}\"\n", service_text(plan), options.policy);
    if options.policy == "context" {
        let _ =
            writeln!(text, "table = \"{}\"\nload_threshold = \"{}\"", options.table, options.load_threshold);
    }
    let _ = write!(text, "classes = {}\n{}", options.classes, options.more);
    altered(text, options.alter.as_ref())
}

pub(crate) fn back_text(plan: &Plan, server: &str, options: &BackOptions) -> String {
    let front = if plan.two_arm() { "front-eth1" } else { "front" };
    let text = format!(
        "# Written by the rig.\nsecret = \"{secret}\"\ninterface = \"eth0\"\nname = \"{server}\"\n\
         report_to = [\"{report_to}:{REPORT_PORT}\"]\npin_path = \"{pins}\"\ncontrol_socket = \"{socket}\"\n\n{service}",
        secret = secret(plan),
        report_to = plan.address(front, Family::V4),
        pins = plan.pin_path(server).display(),
        socket = plan.control_socket(server).display(),
        service = service_text(plan).replace("name = \"web\"\n", ""),
    );
    altered(text, options.alter.as_ref())
}

fn service_text(plan: &Plan) -> String {
    let (v4, v6) = (plan.address("vip", Family::V4), plan.address("vip", Family::V6));
    format!("[[service]]\nname = \"web\"\nvip = [\"{v4}\", \"{v6}\"]\nport = 80\n")
}

fn secret(plan: &Plan) -> String {
    format!("secret of the rig {}", plan.instance())
}

fn altered(mut text: String, alter: Option<&Alter>) -> String {
    if let Some(alter) = alter {
        alter(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_two_arm_front_end_names_its_second_interface_and_gets_the_reports_there() {
        let plan = Plan::new("trial", 2, true).unwrap();
        assert!(front_text(&plan, &FrontOptions::default()).contains("server_interface = \"eth1\""));
        assert!(back_text(&plan, "server2", &BackOptions::default()).contains("198.18.0.3:7180"));
    }

    #[test]
    fn the_hook_has_the_last_word() {
        let plan = Plan::new("trial", 1, false).unwrap();
        let options = FrontOptions::default().alter(|text| *text = text.replace("\"48x\"", "\"600ms\""));
        assert!(front_text(&plan, &options).contains("load_threshold = \"600ms\""));
    }
}
