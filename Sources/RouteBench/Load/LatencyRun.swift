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
        // The publisher's connection and the worker's start are no part of it.
        try await Task.sleep(for: .seconds(1.5))
        try await stage.load.send(0..<commands, rate: rate, publisher, times) { bar.update($0, note: "sent") }
        try await stage.wait(progress: { collector.distinct }) { done in done == commands }
        await publisher.close()
        let calls = try await bench.stub.calls()
        let answeredAt = collector.soFar.answeredAt
        let audit = try await stage.finish(sent: commands, collector)

        let sent = times.all
        guard sent.failures == 0 else { throw BenchFailure("the broker did not take \(sent.failures) commands") }
        var histograms = (0..<5).map { _ in Histogram<UInt64>(highestTrackableValue: 120_000_000_000) }
        for index in min(Int(rate * warmUp), commands / 2)..<commands {
            guard let call = calls[stage.load.requestID(index)], answeredAt[index] > 0 else { continue }
            let total = answeredAt[index] - sent.sent[index]
            let upstream = call.answeredAt - call.arrivedAt
            let confirm = sent.confirmed[index] - sent.sent[index]
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
}
