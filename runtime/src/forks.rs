//! Which process this is: after fork(2), the child has the memory of its parent but none of its other threads.

use std::io;

/// A process in the line of forks that led to the running one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process(usize);

#[cfg(all(unix, not(miri)))]
mod count {
    use std::ffi::c_int;
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Forks between the process that first asked and this one.
    static FORKS: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> c_int;
    }

    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts from here on.
    pub fn begin() -> io::Result<()> {
        static BEGUN: OnceLock<c_int> = OnceLock::new();
        // SAFETY: the handler only counts, which is allowed in a child of a process with threads.
        match BEGUN.get_or_init(|| unsafe { pthread_atfork(None, None, Some(forked)) }) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(*code)),
        }
    }

    pub fn forks() -> usize {
        FORKS.load(Ordering::Relaxed)
    }
}

#[cfg(not(all(unix, not(miri))))]
mod count {
    use std::io;

    pub fn begin() -> io::Result<()> {
        Ok(())
    }

    pub fn forks() -> usize {
        0
    }
}

impl Process {
    /// The running one. Fails where the system does not count forks.
    pub fn current() -> io::Result<Process> {
        count::begin()?;
        Ok(Process(count::forks()))
    }

    pub fn is_current(self) -> bool {
        self.0 == count::forks()
    }
}
