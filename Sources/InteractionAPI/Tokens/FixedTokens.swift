// Access tokens that somebody else fetches: one file or one environment variable per org.

import Glibc
public import NIOCore
public import RoutingContract

/// Where an org's fixed token comes from.
public enum TokenSource: Sendable, Hashable {
    /// A file that holds the token and nothing else but white space around it. Read again when it changes.
    case file(String)
    /// An environment variable, read once.
    case environment(String)
}

/// Gives out tokens from files and environment variables.
///
/// An actor on the worker's event loop, so that a call gets its token without a hop. A file's state (modification time,
/// size, inode) is looked at once per `checkInterval` at most, and by the call that needs the token: local files alone.
public actor FixedTokens: AccessTokens {
    private struct FileState: Equatable {
        var seconds: Int
        var nanoseconds: Int
        var size: Int
        var inode: UInt64
        var device: UInt64
    }

    private struct Entry {
        var source: TokenSource
        var result: Result<AccessToken, TokenFailure>
        var state: FileState?
        var checkAgain: NIODeadline
    }

    /// Bytes of a token file; a larger file is no token file.
    private static let maximumFileBytes = 64 * 1024

    private nonisolated let executor: any SerialExecutor
    private let checkInterval: TimeAmount
    private var entries: [OrgID: Entry]

    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - sources: where each org's token is. A token that cannot be had now is an error of that org's calls, not of
    ///     this initialiser: the file may come later.
    ///   - environment: the process's environment variables.
    ///   - checkInterval: how often a file's state is looked at, at most.
    public init(
        _ sources: [OrgID: TokenSource], environment: [String: String], eventLoop: any EventLoop,
        checkInterval: Duration = .seconds(1)
    ) {
        executor = eventLoop.executor
        self.checkInterval = TimeAmount(checkInterval)
        entries = sources.mapValues { source in
            switch source {
            case .file(let path):
                // Read when first needed.
                Entry(
                    source: source, result: .failure(TokenFailure("the token file \(path) was not read yet")),
                    state: nil,
                    checkAgain: .uptimeNanoseconds(0))
            case .environment(let name):
                Entry(
                    source: source, result: Self.token(from: environment[name], called: "environment variable \(name)"),
                    state: nil, checkAgain: .distantFuture)
            }
        }
    }

    public func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure> {
        guard var entry = entries[org] else { return .failure(TokenFailure("no token is configured for org \(org)")) }
        guard case .file(let path) = entry.source else { return entry.result }
        let now = NIODeadline.now()
        guard entry.checkAgain <= now else { return entry.result }
        entry.checkAgain = now + checkInterval
        switch Self.readIfChanged(path, since: entry.state) {
        case .success(nil):
            break
        case .success(let (text, state)?):
            entry.state = state
            entry.result = Self.token(from: text, called: "token file \(path)")
        case .failure(let failure):
            entry.state = nil
            entry.result = .failure(failure)
        }
        entries[org] = entry
        return entry.result
    }

    private static func token(from text: String?, called name: String) -> Result<AccessToken, TokenFailure> {
        guard let text else { return .failure(TokenFailure("the \(name) is not set")) }
        let trimmed = text.trimmed
        guard !trimmed.isEmpty else { return .failure(TokenFailure("the \(name) is empty")) }
        guard let token = AccessToken(trimmed) else {
            return .failure(TokenFailure("the \(name) holds something else than one token"))
        }
        return .success(token)
    }

    /// Reads a file unless its state is still `known`.
    private static func readIfChanged(
        _ path: String, since known: FileState?
    ) -> Result<(String, FileState)?, TokenFailure> {
        func fail(_ why: String) -> Result<(String, FileState)?, TokenFailure> {
            .failure(TokenFailure("the token file \(path) \(why)"))
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
        let state = FileState(
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec, size: Int(status.st_size),
            inode: UInt64(status.st_ino), device: UInt64(status.st_dev))
        if state == known { return .success(nil) }
        guard state.size <= maximumFileBytes else { return fail("is larger than \(maximumFileBytes) bytes") }

        var bytes = [UInt8](repeating: 0, count: maximumFileBytes)
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

extension StringProtocol {
    /// Without white space and line ends around it.
    var trimmed: SubSequence {
        let start = firstIndex { !$0.isWhitespace } ?? endIndex
        let end = lastIndex { !$0.isWhitespace }.map(index(after:)) ?? start
        return self[start..<end]
    }
}
