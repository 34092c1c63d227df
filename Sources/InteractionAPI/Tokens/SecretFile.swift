// Small files that hold a token or a key, read without blocking on what is no file.

import Glibc

enum SecretFile {
    /// What tells whether a file has changed.
    struct State: Equatable {
        fileprivate var seconds: Int
        fileprivate var nanoseconds: Int
        fileprivate var size: Int
        fileprivate var inode: UInt64
        fileprivate var device: UInt64
    }

    /// Bytes; a larger file is no token and no key.
    private static let maximumBytes = 64 * 1024

    /// Reads a file unless its state is still `known`.
    ///
    /// - Parameter kind: what the file is called in a failure: `token file`.
    static func readIfChanged(
        _ path: String, called kind: String, since known: State?
    ) -> Result<(String, State)?, TokenFailure> {
        func fail(_ why: String) -> Result<(String, State)?, TokenFailure> {
            .failure(TokenFailure("the \(kind) \(path) \(why)"))
        }
        // Without O_NONBLOCK, opening a FIFO would stop the event loop until somebody writes to it.
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return fail("cannot be read: \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            return fail("cannot be read: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return fail("is not a regular file") }
        let state = State(
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec, size: Int(status.st_size),
            inode: UInt64(status.st_ino), device: UInt64(status.st_dev))
        if state == known { return .success(nil) }
        guard state.size <= maximumBytes else { return fail("is larger than \(maximumBytes) bytes") }

        var bytes = [UInt8](repeating: 0, count: maximumBytes)
        var count = 0
        while count < bytes.count {
            let got = bytes[count...].withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if got == 0 { break }
            if got < 0 {
                if errno == EINTR { continue }
                return fail("cannot be read: \(String(cString: strerror(errno)))")
            }
            count += got
        }
        return .success((String(decoding: bytes[..<count], as: UTF8.self), state))
    }
}
