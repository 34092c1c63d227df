// How fast, and at what cost: everything waits on the queue before the first worker starts.

import AMQP
import Synchronization

/// Cost per command in microseconds of processor time.
struct Cost: Codable, Sendable {
    var user: Double
    var system: Double

    var total: Double { user + system }

    init(_ time: ProcessorTime, commands: Int) {
        user = time.user / Double(commands) * 1e6
        system = time.system / Double(commands) * 1e6
    }
}

struct Throughput: Codable, Sendable {
    var commands: Int
    /// From the first answer to the last; so are the costs, so that no start-up is in them.
    var seconds: Double
    var rate: Double
    /// All worker processes together.
    var worker: Cost
    var broker: Cost
    var store: Cost
    /// Of the largest worker, in KiB.
    var peakMemory: Int
    /// From the start of the process to the first answer.
    var startMilliseconds: Double
}

/// Takes the figures of all processes at one moment.
private struct Snapshot: Sendable {
    var at = monotonicNow()
    var answers = 0
    var worker = ProcessorTime()
    var broker = ProcessorTime()
    var store = ProcessorTime()
}

/// Takes the first and the last snapshot, on the thread that counts the answers.
private final class Stopwatch: Sendable {
    private struct State {
        var pids: [Int32] = []
        var first: Snapshot?
        var last: Snapshot?
    }

    private let state = Mutex(State())
    private let servers: Servers
    private let store: StoreKind?
    private let expected: Int

    init(_ servers: Servers, store: StoreKind?, expected: Int) {
        self.servers = servers
        self.store = store
        self.expected = expected
    }

    func watch(_ pids: [Int32]) { state.withLock { $0.pids = pids } }

    func saw(_ answers: Int) {
        state.withLock { state in
            if state.first == nil, answers > 0 { state.first = snapshot(answers, state.pids) }
            if state.last == nil, answers == expected { state.last = snapshot(answers, state.pids) }
        }
    }

    var ends: (first: Snapshot, last: Snapshot)? {
        state.withLock { state in if let first = state.first, let last = state.last { (first, last) } else { nil } }
    }

    private func snapshot(_ answers: Int, _ pids: [Int32]) -> Snapshot {
        Snapshot(
            answers: answers, worker: pids.map(ProcessFigures.time).reduce(ProcessorTime(), +),
            broker: servers.brokerTime(), store: servers.time(of: store))
    }
}

enum ThroughputRun {
    /// Sends the commands, starts the contestant, waits for all answers, and audits.
    static func measure(_ scenario: Scenario, _ bench: Bench, commands: Int) async throws -> (Throughput, Audit) {
        let stage = try await Stage(scenario, bench)
        let bar = ProgressBar(scenario.title, total: commands)
        try await send(commands, stage) { bar.update($0, note: "sent") }

        let stopwatch = Stopwatch(bench.servers, store: scenario.contestant.store, expected: commands)
        let collector = try AnswerCollector(
            bench.servers.broker("answers"), queue: stage.results, expected: commands, onCount: stopwatch.saw)
        let startedAt = monotonicNow()
        try stage.startContestant()
        stopwatch.watch(stage.children.map(\.pid))
        try await stage.wait(progress: { collector.distinct }) { done in
            bar.update(done, note: "answered")
            return stopwatch.ends != nil
        }
        let memory = stage.children.map { ProcessFigures.memory(of: $0.pid).peak }.max() ?? 0
        let audit = try await stage.finish(sent: commands, collector)
        guard let (first, last) = stopwatch.ends else { throw BenchFailure("nothing was measured") }
        let counted = max(last.answers - first.answers, 1)
        let seconds = Double(last.at - first.at) / 1e9
        let throughput = Throughput(
            commands: commands, seconds: seconds, rate: Double(counted) / max(seconds, 1e-9),
            worker: Cost(last.worker - first.worker, commands: counted),
            broker: Cost(last.broker - first.broker, commands: counted),
            store: Cost(last.store - first.store, commands: counted), peakMemory: memory,
            startMilliseconds: Double(first.at - startedAt) / 1e6)
        bar.finish(
            "\(scenario.title): \(Int(throughput.rate))/s, \(throughput.worker.total.formatted(1)) µs a command, "
                + audit.summary)
        return (throughput, audit)
    }

    /// Fills the queue.
    private static func send(_ commands: Int, _ stage: Stage, progress: (Int) -> Void) async throws {
        let publisher = try AMQPPublisher(stage.bench.servers.broker("commands"))
        publisher.start()
        var sent = 0
        while sent < commands {
            let chunk = (sent..<min(sent + 2000, commands)).map { stage.load.message($0) }
            let outcomes = await publisher.publish(chunk, timeout: .seconds(60))
            guard outcomes.allSatisfy({ $0 == .confirmed }) else {
                throw BenchFailure("the broker did not take all commands: \(outcomes.first { $0 != .confirmed }!)")
            }
            sent += chunk.count
            progress(sent)
        }
        await publisher.close()
    }
}
