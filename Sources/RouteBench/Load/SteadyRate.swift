// Sends commands at a steady rate, as a platform would.

import AMQP
import Synchronization

/// Writes down when each command was sent and confirmed.
final class SendingTimes: Sendable {
    struct State {
        /// Nanoseconds of ``monotonicNow()`` by number, as the next.
        var sent: [UInt64]
        var confirmed: [UInt64]
        var failures = 0
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        let none = [UInt64](repeating: 0, count: count)
        state = Mutex(State(sent: none, confirmed: none))
    }

    func sent(_ range: Range<Int>, at time: UInt64) {
        state.withLock { for index in range { $0.sent[index] = time } }
    }

    func confirmed(_ results: [PublishResult]) {
        let now = monotonicNow()
        state.withLock { state in
            for result in results {
                if result.outcome != .confirmed { state.failures += 1 }
                state.confirmed[Int(result.ticket)] = now
            }
        }
    }

    var all: State { state.withLock { $0 } }
}

extension CommandLoad {
    /// Gives the commands to the publisher at their times, in steps of two milliseconds. Being late does not change the
    /// times of those that follow, so that a slow worker is not spared.
    func send(
        _ commands: Range<Int>, rate: Double, _ publisher: AMQPPublisher, _ times: SendingTimes,
        progress: (Int) -> Void
    ) async throws {
        let begin = ContinuousClock.now
        var sent = commands.lowerBound
        while sent < commands.upperBound {
            let elapsed = (ContinuousClock.now - begin) / .seconds(1)
            let due = min(commands.upperBound, commands.lowerBound + Int(elapsed * rate) + 1)
            if due > sent {
                let now = ContinuousClock.now
                let batch = (sent..<due).map { index in
                    Publication(ticket: UInt64(index), message: message(index), deadline: now + .seconds(60))
                }
                times.sent(sent..<due, at: monotonicNow())
                publisher.enqueue(batch)
                sent = due
                progress(sent)
            }
            try await Task.sleep(until: begin + .seconds(Double(sent - commands.lowerBound) / rate), clock: .continuous)
        }
    }
}
