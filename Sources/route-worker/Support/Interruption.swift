// Ctrl-C in the middle of an operator's work: what is under way is finished, and nothing new begins.

import Foundation
import NIOConcurrencyHelpers
import UnixSignals

/// Whether somebody asked to stop.
final class Interruption: Sendable {
    private struct State {
        var requests = StopRequests()
        var isIdle = false
    }

    private let state = NIOLockedValueBox(State())

    var isAsked: Bool { state.withLockedValue { $0.requests.isAsked } }

    /// Runs what waits for somebody, so that nothing is under way and the first signal ends the process.
    func whileIdle<Value>(_ body: () throws -> Value) rethrows -> Value {
        state.withLockedValue { $0.isIdle = true }
        defer { state.withLockedValue { $0.isIdle = false } }
        return try body()
    }

    fileprivate func ask() -> StopRequests.Answer {
        state.withLockedValue { state in
            let answer = state.requests.received(now: .now)
            return state.isIdle ? .end : answer
        }
    }
}

/// Runs `body` and tells it of the first SIGINT or SIGTERM; a later one ends the process at once, which is safe wherever a
/// kill is.
func withInterruption<Value>(_ body: (Interruption) async throws -> Value) async throws -> Value {
    let interruption = Interruption()
    let signals = await UnixSignalsSequence(trapping: [.sigint, .sigterm])
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            for await signal in signals {
                switch interruption.ask() {
                case .ignore: break
                case .finish: say("finishing what is under way; the same signal again ends at once")
                case .end:
                    say("ending at once")
                    Foundation.exit(ExitStatus.signal(signal == .sigint ? SIGINT : SIGTERM))
                }
            }
        }
        defer { group.cancelAll() }
        return try await body(interruption)
    }
}
