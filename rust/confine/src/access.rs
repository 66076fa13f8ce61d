//! Landlock: what a process may do with files, TCP ports, abstract sockets and signals.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, RestrictSelf,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::Error;
use crate::model::{Extent, InForce, Limits, Right, Rules};

/// The newest version of the interface that is asked for.
const NEWEST: ABI = ABI::V7;

/// The version of the kernel's interface, 0 where there is none. One that is newer than the newest that is known here
/// counts as that.
#[must_use]
pub fn abi() -> u8 {
    // Asks, and restricts nothing.
    let status = RestrictSelf::default().no_new_privs(false).apply();
    match status.map(|status| status.landlock) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => effective_abi as u8,
        _ => 0,
    }
}

/// Deny to the calling thread, and to what it starts from now on, everything with files that no rule allows, and what
/// `limits` says. Sets `no_new_privs`. Can be called again; what was denied stays denied.
///
/// # Errors
///
/// `System` for a path that cannot be opened, naming it, and where the kernel refuses.
pub fn restrict(rules: &Rules, limits: &Limits) -> Result<InForce, Error> {
    let available = abi();
    let mut ruleset = prepare(limits)?;
    for (path, rights) in rules {
        ruleset = beneath(ruleset, path, rights)?;
    }
    for (ports, access) in [(&limits.bind, AccessNet::BindTcp), (&limits.connect, AccessNet::ConnectTcp)] {
        for port in ports.iter().flatten() {
            ruleset = ruleset.add_rule(NetPort::new(*port, access)).map_err(refused)?;
        }
    }
    let status = ruleset.restrict_self().map_err(refused)?;
    let in_force = extents(available, limits);
    // The kernel was asked twice; should the answers differ, what was enforced is what counts.
    if (status.ruleset == RulesetStatus::NotEnforced) != (in_force.files == Extent::None) {
        return Err(Error::Invalid(format!("Landlock: {:?} with version {available}", status.ruleset)));
    }
    Ok(in_force)
}

fn prepare(limits: &Limits) -> Result<RulesetCreated, Error> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(refused)?;
    if limits.bind.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp).map_err(refused)?;
    }
    if limits.connect.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp).map_err(refused)?;
    }
    if limits.abstract_sockets {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket).map_err(refused)?;
    }
    if limits.signals {
        ruleset = ruleset.scope(Scope::Signal).map_err(refused)?;
    }
    ruleset.create().map_err(refused)
}

fn beneath(ruleset: RulesetCreated, path: &Path, rights: &[Right]) -> Result<RulesetCreated, Error> {
    let named = || path.display().to_string();
    let kind = std::fs::metadata(path).map_err(|error| Error::system(named(), error))?;
    let opened = PathFd::new(path).map_err(|error| Error::system(named(), std::io::Error::other(error.to_string())))?;
    let mut access = rights.iter().fold(BitFlags::EMPTY, |all, right| all | bits(*right));
    if !kind.is_dir() {
        access &= AccessFs::from_file(NEWEST);
    }
    if access.is_empty() {
        return Ok(ruleset);
    }
    ruleset.add_rule(PathBeneath::new(opened, access)).map_err(refused)
}

fn bits(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        Right::List => AccessFs::ReadDir.into(),
        // Not devices: nobody who only writes files makes those.
        Right::Write => AccessFs::from_write(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev),
        Right::Execute => AccessFs::Execute.into(),
        Right::RemoveDirs => AccessFs::RemoveDir.into(),
        Right::Ioctl => AccessFs::IoctlDev.into(),
    }
}

/// By the version in which each part came: truncating 3, ports 4, `ioctl` 5, scopes 6.
fn extents(abi: u8, limits: &Limits) -> InForce {
    let since = |version: u8| if abi >= version { Extent::Full } else { Extent::None };
    InForce {
        files: match abi {
            0 => Extent::None,
            1..=4 => Extent::Partial,
            _ => Extent::Full,
        },
        tcp_bind: limits.bind.as_ref().map(|_| since(4)),
        tcp_connect: limits.connect.as_ref().map(|_| since(4)),
        abstract_sockets: limits.abstract_sockets.then(|| since(6)),
        signals: limits.signals.then(|| since(6)),
    }
}

fn refused(error: RulesetError) -> Error {
    Error::system("Landlock", std::io::Error::other(error.to_string()))
}
