//! Other people's programs on the same phone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::phone::Served;

/// A program that makes backups.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: PathBuf,
    pair: (PathBuf, &'static [&'static str]),
    back_up: &'static [&'static str],
}

/// Those that are installed.
pub(crate) fn installed() -> Vec<Peer> {
    let mut found = Vec::new();
    if let (Some(program), Some(pair)) = (in_path("idevicebackup2"), in_path("idevicepair")) {
        let back_up = &["backup", "--full"];
        found.push(Peer { name: "idevicebackup2", program, pair: (pair, &["pair"]), back_up });
    }
    let told = std::env::var_os("PYMOBILEDEVICE3").map(PathBuf::from);
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/pymobiledevice3/bin/pymobiledevice3");
    let ours = Some(ours).filter(|path| path.exists());
    if let Some(program) = told.or(ours).or_else(|| in_path("pymobiledevice3")) {
        let back_up = &["backup2", "backup", "--full"];
        let pair = (program.clone(), &["lockdown", "pair"][..]);
        found.push(Peer { name: "pymobiledevice3", program, pair, back_up });
    }
    found
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}

impl Peer {
    /// It takes minutes for what others do in seconds.
    pub(crate) fn is_slow(&self) -> bool {
        self.name == "pymobiledevice3"
    }

    /// Has the phone trust the program; the person on the phone takes a moment.
    pub(crate) async fn pair(&self, phone: &Served, home: &Path) {
        let (program, words) = &self.pair;
        for _ in 0..20 {
            if self.run(phone, home, program, words, None).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("{} is not trusted", self.name);
    }

    /// Makes a full backup into `target`.
    pub(crate) async fn back_up(&self, phone: &Served, home: &Path, target: &Path) -> bool {
        std::fs::create_dir_all(target).expect("a folder is made");
        self.run(phone, home, &self.program, self.back_up, Some(target)).await
    }

    async fn run(
        &self,
        phone: &Served,
        home: &Path,
        program: &Path,
        words: &[&str],
        last: Option<&Path>,
    ) -> bool {
        std::fs::create_dir_all(home).expect("a folder is made");
        let mut command = Command::new(program);
        command.args(words).args(last);
        command.env("USBMUXD_SOCKET_ADDRESS", &phone.tcp).env("HOME", home).env("XDG_DATA_HOME", home);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }
}
