// Sends commands at a steady rate, as a platform would.

import AMQP
import Foundation

/// Writes down when each command was sent and confirmed.
final class SendingTimes: Sendable {
    private let lock = NSLock()
    // `nonisolated(unsafe)`: these are guarded by the lock.
    nonisolated(unsafe) private var sentAt: [UInt64]
    nonisolated(unsafe) private var confirmedAt: [UInt64]
    nonisolated(unsafe) private var failures = 0

    init(_ count: Int) {
        sentAt = Array(repeating: 0, count: count)
        confirmedAt = sentAt
    }

    func sent(_ range: Range<Int>, at time: UInt64) { lock.withLock { for index in range { sentAt[index] = time } } }

    func confirmed(_ results: [PublishResult]) {
        let now = monotonicNow()
        lock.withLock {
            for result in results {
                if result.outcome != .confirmed { failures += 1 }
                confirmedAt[Int(result.ticket)] = now
            }
        }
    }

    var all: (sent: [UInt64], confirmed: [UInt64], failures: Int) { lock.withLock { (sentAt, confirmedAt, failures) } }
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
