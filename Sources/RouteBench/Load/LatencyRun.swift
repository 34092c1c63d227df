// How long a command takes while workers are not saturated: commands are sent at a steady rate, as a platform would, and
// every stage is seen from outside the worker.

import AMQP
import Foundation
import Histogram

/// Percentiles of a time, in milliseconds.
struct Percentiles: Codable, Sendable {
    var median: Double
    var p90: Double
    var p99: Double
    var maximum: Double

    init(_ histogram: Histogram<UInt64>) {
        func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e6 }
        median = milliseconds(histogram.valueAtPercentile(50))
        p90 = milliseconds(histogram.valueAtPercentile(90))
        p99 = milliseconds(histogram.valueAtPercentile(99))
        maximum = milliseconds(histogram.max)
    }
}

struct Latency: Codable, Sendable {
    /// Commands per second that were sent.
    var rate: Double
    var commands: Int
    /// From giving a command to the publisher until its answer is read.
    var total: Percentiles
    /// The stub's: from the request's arrival to the answer's departure.
    var upstream: Percentiles
    /// From giving a command to the publisher until the broker's confirm: what one passage through the broker costs here.
    var confirm: Percentiles
    /// Total less upstream, command by command: the worker, the way to it and the way back, two passages through the broker.
    var beyondUpstream: Percentiles
    /// What the worker adds: total less upstream and less the confirms of the command and of its answer (taken to be as
    /// long), command by command.
    var added: Percentiles
}

/// Writes down when each command was sent and confirmed.
private final class SendingTimes: Sendable {
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

enum LatencyRun {
    /// Seconds at the beginning that do not count.
    private static let warmUp = 1.0

    static func measure(
        _ scenario: Scenario, _ bench: Bench, rate: Double, seconds: Double
    ) async throws -> (Latency, Audit) {
        let stage = try await Stage(scenario, bench)
        let commands = max(Int(rate * (seconds + warmUp)), 50)
        let times = SendingTimes(commands)
        let collector = try AnswerCollector(
            bench.servers.broker("answers"), queue: stage.results, expected: commands, onCount: { _ in })
        try stage.startContestant()
        let publisher = try AMQPPublisher(bench.servers.broker("commands"), onResults: times.confirmed)
        publisher.start()

        let bar = ProgressBar("\(scenario.title), \(Int(rate))/s", total: commands)
        try await pace(commands, rate, stage, publisher, times) { bar.update($0, note: "sent") }
        try await stage.wait(progress: { collector.distinct }) { done in done == commands }
        await publisher.close()
        let calls = try await bench.stub.calls()
        let answeredAt = collector.soFar.answeredAt
        let audit = try await stage.finish(sent: commands, collector)

        let (sentAt, confirmedAt, failures) = times.all
        guard failures == 0 else { throw BenchFailure("the broker did not take \(failures) commands") }
        var histograms = (0..<5).map { _ in Histogram<UInt64>(highestTrackableValue: 120_000_000_000) }
        for index in min(Int(rate * warmUp), commands / 2)..<commands {
            guard let call = calls[stage.load.requestID(index)], answeredAt[index] > 0 else { continue }
            let total = answeredAt[index] - sentAt[index]
            let upstream = call.answeredAt - call.arrivedAt
            let confirm = confirmedAt[index] - sentAt[index]
            let beyond = total - min(total, upstream)
            for (slot, value) in [total, upstream, confirm, beyond, beyond - min(beyond, 2 * confirm)].enumerated() {
                _ = histograms[slot].record(max(value, 1))
            }
        }
        let latency = Latency(
            rate: rate, commands: commands, total: Percentiles(histograms[0]), upstream: Percentiles(histograms[1]),
            confirm: Percentiles(histograms[2]), beyondUpstream: Percentiles(histograms[3]),
            added: Percentiles(histograms[4]))
        bar.finish(
            "\(scenario.title), \(Int(rate))/s: \(latency.total.median.formatted(2)) ms median, "
                + "\(latency.total.p99.formatted(2)) ms p99, worker's part \(latency.added.median.formatted(2)) and "
                + "\(latency.added.p99.formatted(2)) ms, \(audit.summary)")
        return (latency, audit)
    }

    /// Gives the commands to the publisher at their times, in steps of two milliseconds. Being late does not change the
    /// times of those that follow, so that a slow worker is not spared.
    private static func pace(
        _ commands: Int, _ rate: Double, _ stage: Stage, _ publisher: AMQPPublisher, _ times: SendingTimes,
        progress: (Int) -> Void
    ) async throws {
        // The publisher's connection and the worker's start are no part of it.
        try await Task.sleep(for: .seconds(1.5))
        let begin = ContinuousClock.now
        var sent = 0
        while sent < commands {
            let elapsed = (ContinuousClock.now - begin) / .seconds(1)
            let due = min(commands, Int(elapsed * rate) + 1)
            if due > sent {
                let now = ContinuousClock.now
                let batch = (sent..<due).map { index in
                    Publication(ticket: UInt64(index), message: stage.load.message(index), deadline: now + .seconds(60))
                }
                times.sent(sent..<due, at: monotonicNow())
                publisher.enqueue(batch)
                sent = due
                progress(sent)
            }
            try await Task.sleep(until: begin + .seconds(Double(sent) / rate), clock: .continuous)
        }
    }
}
