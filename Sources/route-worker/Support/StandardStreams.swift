// The descriptors 0 to 2, which whoever starts the program may have closed, or put onto a disk that is full.

@preconcurrency import Glibc

enum StandardStreams {
    /// Takes those that are closed, or the next file or connection would get their number, and with it what is meant for
    /// people. Using them fails as before.
    static func reserve() {
        for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)]
        where fcntl(descriptor, F_GETFD) < 0 {
            // The lowest that is free, which is this one.
            _ = open("/dev/null", mode)
        }
    }

    /// Writes what is left of the results.
    ///
    /// - Throws: ``CommandFailure`` where any of them could not be written, which `print` does not tell.
    static func finishOutput() throws {
        let isFlushed = fflush(stdout) == 0
        guard isFlushed, ferror(stdout) == 0 else {
            throw CommandFailure.failed("not all of it could be written to standard output: is its disk full?")
        }
    }
}
