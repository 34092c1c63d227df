// Ctrl-C in the middle of an operator's work: what is under way is finished, and nothing new begins.

import Foundation
import NIOConcurrencyHelpers
import UnixSignals

/// Whether somebody asked to stop.
final class Interruption: Sendable {
    private let flag = NIOLockedValueBox(false)

    var isAsked: Bool { flag.withLockedValue { $0 } }

    /// - Returns: whether it was asked before.
    fileprivate func ask() -> Bool {
        flag.withLockedValue { flag in
            defer { flag = true }
            return flag
        }
    }
}

/// Runs `body` and tells it of the first SIGINT or SIGTERM; the second ends the process at once, which is safe wherever a
/// kill is.
func withInterruption<Value>(_ body: (Interruption) async throws -> Value) async throws -> Value {
    let interruption = Interruption()
    let signals = await UnixSignalsSequence(trapping: [.sigint, .sigterm])
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            for await signal in signals {
                if interruption.ask() {
                    say("a second signal: ending at once")
                    Foundation.exit(ExitStatus.signal(signal == .sigint ? SIGINT : SIGTERM))
                }
                say("finishing what is under way; the same signal again ends at once")
            }
        }
        defer { group.cancelAll() }
        return try await body(interruption)
    }
}
