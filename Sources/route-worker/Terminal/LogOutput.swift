// Where log lines go: gathered for a moment, since a system call costs more than the line it writes.

import Dispatch
import Foundation
import NIOConcurrencyHelpers

/// Writes lines to standard error in the order in which they come, several with one system call.
///
/// A line waits for others for 20 ms at most; the end of the process writes what waits. A process that is killed loses the
/// lines of its last 20 ms.
final class LogOutput: Sendable {
    static let standardError: LogOutput = {
        atexit { LogOutput.standardError.flush() }
        return LogOutput()
    }()

    private static let delay = DispatchTimeInterval.milliseconds(20)
    /// When this much waits, whoever brings more writes it: a log that nobody reads slows the worker down, but never
    /// grows in its memory.
    private static let maximumBytes = 256 << 10

    private let waiting = NIOLockedValueBox<[UInt8]>([])
    /// Held while writing, so that lines keep their order.
    private let turn = NIOLock()
    private let queue = DispatchQueue(label: "log")

    /// - Parameters:
    ///   - line: with its line feed.
    ///   - atOnce: written before this returns, with all that waited.
    func write(_ line: [UInt8], atOnce: Bool) {
        let (wasEmpty, isFull) = waiting.withLockedValue { bytes in
            defer { bytes.append(contentsOf: line) }
            return (bytes.isEmpty, bytes.count > Self.maximumBytes)
        }
        if atOnce || isFull {
            flush()
        } else if wasEmpty {
            queue.asyncAfter(deadline: .now() + Self.delay) { self.flush() }
        }
    }

    /// Writes what waits.
    func flush() {
        turn.withLock {
            let bytes = waiting.withLockedValue { $0.take() }
            var rest = bytes[...]
            while !rest.isEmpty {
                let written = rest.withUnsafeBytes { Foundation.write(STDERR_FILENO, $0.baseAddress, $0.count) }
                // Nobody could be told of a log that takes nothing.
                guard written > 0 || errno == EINTR else { return }
                rest = rest.dropFirst(max(written, 0))
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func take() -> [UInt8] {
        defer { self = [] }
        return self
    }
}
