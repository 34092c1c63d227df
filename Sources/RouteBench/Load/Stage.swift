// What one run needs: queues of its own, a stub that starts afresh, processes of one contestant.

import AMQP
import AMQPMessage
import Foundation
import RoutingContract

/// What is measured in one run.
struct Scenario: Sendable, Hashable {
    var contestant: Contestant
    var queue: QueueKind
    var delayMilliseconds: Int
    var workers: Int
    var concurrency: Int

    var title: String {
        "\(contestant.name), \(queue.rawValue), \(delayMilliseconds) ms, \(workers) worker\(workers == 1 ? "" : "s")"
    }
}

/// What all runs share.
struct Bench: Sendable {
    let servers: Servers
    let programs: Programs
    let folder: BenchFolder
    let stub: Stub
    /// How long to go on without a new answer.
    static let patience: Duration = .seconds(60)
}

/// One run's queues and processes.
final class Stage {
    let bench: Bench
    let scenario: Scenario
    let load: CommandLoad
    let results: String
    private let deadLetters: String
    private(set) var children: [Child] = []

    private let orgs: [(id: String, stub: Stub)]

    /// Declares the queues and resets the stub.
    ///
    /// - Parameter orgs: those of the commands, each with the stub that stands for its API.
    init(_ scenario: Scenario, _ bench: Bench, orgs: [(id: String, stub: Stub)]? = nil) async throws {
        self.scenario = scenario
        self.bench = bench
        self.orgs = orgs ?? [(CommandLoad.org, bench.stub)]
        let name = "bench.\(UInt32.random(in: .min ... .max))"
        load = CommandLoad(queue: "\(name).commands", orgs: self.orgs.map(\.id))
        results = "\(name).results"
        deadLetters = "\(name).dead-letters"
        let arguments: FieldTable = ["x-queue-type": .string(scenario.queue.rawValue)]
        let queues = [load.queue, results, deadLetters]
        try await AMQPAdmin.withConnection(bench.servers.broker("setup")) { admin in
            for queue in queues { try await admin.declareQueue(queue, arguments: arguments) }
        }
        try await bench.stub.reset(delayMilliseconds: scenario.delayMilliseconds)
    }

    func startContestant() throws {
        let assignment = Assignment(
            commands: load.queue, results: results, deadLetters: deadLetters,
            orgs: orgs.map { ($0.id, $0.stub.url) }, concurrency: scenario.concurrency,
            storeURL: try scenario.contestant.store.map { try bench.servers.url(of: $0, in: bench.folder) })
        for _ in 0..<scenario.workers {
            children.append(
                try assignment.start(scenario.contestant, bench.programs, bench.servers, bench.folder))
        }
    }

    /// Waits until `isDone`, and fails when a process ends or nothing new comes for long.
    func wait(progress: @Sendable () -> Int, until isDone: @Sendable (Int) -> Bool) async throws {
        var last = -1
        var lastChange = ContinuousClock.now
        while true {
            let done = progress()
            if isDone(done) { return }
            if done != last { (last, lastChange) = (done, .now) }
            if let gone = children.first(where: { !$0.isRunning }) {
                throw BenchFailure("\(gone.name) ended after \(done) answers:\n\(gone.logTail)")
            }
            guard ContinuousClock.now - lastChange < Bench.patience else {
                throw BenchFailure(
                    "\(scenario.title): no answer for \(Bench.patience) after \(done):\n\(children.first?.logTail ?? "")"
                )
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Ends the processes in good order, then compares what was sent with what was called and answered.
    func finish(sent: Int, _ collector: AnswerCollector) async throws -> Audit {
        for child in children { try await child.stop() }
        children = []
        await collector.close()
        var calls: [String: [RequestID: StubCall]] = [:]
        for stub in orgs.map(\.stub) where calls[stub.url] == nil { calls[stub.url] = try await stub.calls() }
        var audit = Audit()
        for index in 0..<sent {
            switch calls[orgs[index % orgs.count].stub.url]?[load.requestID(index)]?.count ?? 0 {
            case 0: audit.notCalled += 1
            case 1: break
            default: audit.calledTwice += 1
            }
        }
        let answers = collector.soFar
        audit.unanswered = sent - answers.distinct
        audit.answeredTwice = answers.repeated
        audit.wrongAnswers = answers.wrong
        let queues = (load.queue, deadLetters, results)
        try await AMQPAdmin.withConnection(bench.servers.broker("audit")) { admin in
            audit.leftOver = try await admin.deleteQueue(queues.0)
            audit.deadLetters = try await admin.deleteQueue(queues.1)
            try await admin.deleteQueue(queues.2)
        }
        return audit
    }
}

/// Whether everything was done once. All figures should be zero.
struct Audit: Codable, Sendable {
    /// Commands without an answer.
    var unanswered = 0
    /// Commands that the API never saw.
    var notCalled = 0
    var calledTwice = 0
    var answeredTwice = 0
    /// Answers that do not say `succeeded`.
    var wrongAnswers = 0
    var deadLetters = 0
    /// Commands still on their queue after the worker drained: not acknowledged.
    var leftOver = 0

    var isClean: Bool {
        unanswered + notCalled + calledTwice + answeredTwice + wrongAnswers + deadLetters + leftOver == 0
    }

    var summary: String {
        isClean
            ? "nothing lost, nothing twice"
            : "UNANSWERED \(unanswered), not called \(notCalled), called twice \(calledTwice), answered twice "
                + "\(answeredTwice), wrong \(wrongAnswers), dead letters \(deadLetters), left over \(leftOver)"
    }
}
