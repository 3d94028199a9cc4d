//! `--wide`: Mesa's software adapter with all the lanes that the CPU has.
//!
//! llvmpipe (Mesa's name for the CPU behind lavapipe) uses vectors of 256 bits even where the CPU has 512. It reads the width
//! from the environment when it is loaded, and an environment is changed safely only for a new process.

use super::Cli;

/// The width of llvmpipe's vectors in bits.
const VARIABLE: &str = "LP_NATIVE_VECTOR_WIDTH";

/// Becomes the same command with wide vectors; returns where they change nothing, and says why.
pub(super) fn start_again(cli: &Cli) {
    // The process that was started again gets here, too, with the variable set: it goes on.
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    // That there is no adapter is for the command to say, if it needs one.
    let Ok(device) = cli.device() else { return };
    let adapter = device.caps().adapter;
    let why = match lanes(&adapter) {
        None => format!("the adapter is {adapter}, not llvmpipe"),
        Some(_) if !has_avx512() => "the CPU has no AVX-512".into(),
        Some(_) => become_wide(),
    };
    eprintln!("note: --wide changes nothing: {why}");
}

/// Mesa's cache of compiled kernels. It does not tell widths apart: what was compiled for 8 lanes would go on to run with 8.
const CACHE: &str = "MESA_SHADER_CACHE_DIR";

/// A folder of its own for the kernels of wide vectors, in the one that is used otherwise.
#[cfg(unix)]
fn wide_cache() -> std::path::PathBuf {
    let folder = |variable| std::env::var_os(variable).map(std::path::PathBuf::from);
    let in_home = || folder("HOME").map(|home| home.join(".cache"));
    let base = folder(CACHE).or_else(|| folder("XDG_CACHE_HOME")).or_else(in_home).unwrap_or_else(std::env::temp_dir);
    base.join("thinnet-mesa-512")
}

/// Replaces this process, so that signals and the exit code are the command's; returns only why it could not.
#[cfg(unix)]
fn become_wide() -> String {
    use std::os::unix::process::CommandExt;
    let error = match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(VARIABLE, "512")
            .env(CACHE, wide_cache())
            .exec(),
        Err(error) => error,
    };
    format!("the command could not be started again: {error}; set {VARIABLE}=512 yourself")
}

#[cfg(not(unix))]
fn become_wide() -> String {
    format!("this system cannot replace a process; set {VARIABLE}=512 yourself")
}

/// How many numbers llvmpipe computes at once, from its name; none for another adapter.
pub(super) fn lanes(adapter: &str) -> Option<u32> {
    let inner = adapter.strip_prefix("llvmpipe (")?.strip_suffix(" bits)")?;
    let bits: u32 = inner.rsplit(' ').next()?.parse().ok()?;
    Some(bits / 32)
}

/// What `thinnet devices` says of an adapter's lanes.
pub(super) fn describe(adapter: &str) -> Option<String> {
    let lanes = lanes(adapter)?;
    let applies = has_avx512() && std::env::var_os(VARIABLE).is_none();
    let hint = if applies { "; with --wide 16, which some CPUs are faster with" } else { "" };
    Some(format!("{lanes} lanes{hint}"))
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::lanes;

    #[test]
    fn lanes_are_read_from_the_name_of_llvmpipe_and_of_no_other_adapter() {
        assert_eq!(lanes("llvmpipe (LLVM 15.0.6, 256 bits)"), Some(8));
        assert_eq!(lanes("llvmpipe (LLVM 19.1.7, 512 bits)"), Some(16));
        for other in ["cpu", "SwiftShader Device (LLVM 10.0.0)", "NVIDIA H200", "llvmpipe", "llvmpipe (LLVM 15.0.6, many bits)"] {
            assert_eq!(lanes(other), None, "{other}");
        }
    }
}
