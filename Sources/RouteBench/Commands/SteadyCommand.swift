// `RouteBench steady`: a long run through one worker.

import AMQP
import ArgumentParser
import Foundation
import Synchronization

struct SteadyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "steady",
        abstract: "Sends many commands through one worker and shows whether its memory stays flat.",
        discussion: """
            Commands are sent as fast as the worker takes them, with at most --backlog waiting. One line for every tenth of
            the way: resident memory of the worker, of it on the heap and stacks, commands per second, processor time a
            command. In the end every command must have been called and answered exactly once.

            EXAMPLES
              RouteBench steady
              RouteBench steady --commands 100000 --store redis --json steady.json
            """)

    @Option(help: "Commands altogether.")
    var commands = 1_000_000

    @Option(help: "memory, sqlite, postgres or redis.")
    var store = StoreKind.sqlite

    @Option(help: "classic or quorum.")
    var queue = QueueKind.classic

    @Option(help: "Commands sent ahead of the answers.")
    var backlog = 10_000

    @Option(help: "Commands in work at a time.")
    var concurrency = 64

    @Option(help: ArgumentHelp("Write all figures as JSON.", valueName: "file"))
    var json: String?

    @OptionGroup var programs: ProgramOptions

    func validate() throws {
        guard commands >= 10, backlog > 0, concurrency > 0 else { throw ValidationError("numbers must be positive") }
    }

    /// One line.
    private struct Mark: Codable {
        var answered: Int
        var residentKiB: Int
        var anonymousKiB: Int
        var perSecond: Double
        var microseconds: Double
    }

    private struct Result: Codable {
        var machine = Machine()
        var store: StoreKind
        var firstAnswerMilliseconds: Double
        var marks: [Mark]
        var audit: Audit
    }

    func run() async throws {
        try await programs.withBench { bench in
            let scenario = Scenario(
                contestant: .worker(store), queue: queue, delayMilliseconds: 0, workers: 1, concurrency: concurrency)
            let stage = try await Stage(scenario, bench)
            let firstAnswer = FirstTime()
            let collector = try AnswerCollector(
                bench.servers.broker("answers"), queue: stage.results, expected: commands,
                onCount: { _ in firstAnswer.happened() })
            let publisher = try AMQPPublisher(bench.servers.broker("commands"))
            publisher.start()
            try await send(0..<min(commands, 100), stage, publisher)
            let startedAt = monotonicNow()
            try stage.startContestant()
            let marks = try await follow(stage, publisher, collector)
            await publisher.close()
            let audit = try await stage.finish(sent: commands, collector)
            let result = Result(
                store: store, firstAnswerMilliseconds: Double((firstAnswer.at ?? startedAt) - startedAt) / 1e6,
                marks: marks, audit: audit)
            print("first answer after \(result.firstAnswerMilliseconds.formatted(0)) ms; \(audit.summary)")
            if let json { try JSONEncoder.readable.encode(result).write(to: URL(fileURLWithPath: json)) }
            guard audit.isClean else { throw BenchFailure("commands were lost or called twice, see above") }
        }
    }

    private func send(_ range: Range<Int>, _ stage: Stage, _ publisher: AMQPPublisher) async throws {
        let outcomes = await publisher.publish(range.map { stage.load.message($0) }, timeout: .seconds(60))
        guard outcomes.allSatisfy({ $0 == .confirmed }) else {
            throw BenchFailure("the broker did not take all commands: \(outcomes.first { $0 != .confirmed }!)")
        }
    }

    /// Keeps the queue filled until the last answer, and writes down how the worker is doing.
    private func follow(_ stage: Stage, _ publisher: AMQPPublisher, _ collector: AnswerCollector) async throws -> [Mark]
    {
        let worker = stage.children[0].pid
        var marks: [Mark] = []
        var sent = min(commands, 100)
        var before = (answered: 0, at: monotonicNow(), time: ProcessFigures.time(of: worker))
        // Early on too, since that is what the rest is compared with.
        var levels = [commands / 100, commands / 20].filter { $0 > 0 } + (1...10).map { $0 * commands / 10 }
        print("  answered  resident MB  anonymous MB  per second  CPU µs")
        while !levels.isEmpty {
            let answered = collector.distinct
            if answered >= levels[0] {
                levels.removeAll { $0 <= answered }
                let now = (answered: answered, at: monotonicNow(), time: ProcessFigures.time(of: worker))
                let count = Double(max(now.answered - before.answered, 1))
                let memory = ProcessFigures.memory(of: worker)
                let mark = Mark(
                    answered: answered, residentKiB: memory.present, anonymousKiB: memory.anonymous,
                    perSecond: count / (Double(now.at - before.at) / 1e9),
                    microseconds: (now.time - before.time).total / count * 1e6)
                before = now
                marks.append(mark)
                print(
                    String(
                        format: "%10d  %11.1f  %12.1f  %10.0f  %6.1f", mark.answered, Double(mark.residentKiB) / 1024,
                        Double(mark.anonymousKiB) / 1024, mark.perSecond, mark.microseconds))
            }
            if sent < commands, sent - answered < backlog {
                let next = min(sent + 1000, commands)
                try await send(sent..<next, stage, publisher)
                sent = next
            } else {
                try await stage.wait(progress: { collector.distinct }) { $0 > answered || $0 == commands }
            }
        }
        return marks
    }
}

/// When something happened first.
private final class FirstTime: Sendable {
    private let time = Mutex<UInt64?>(nil)

    var at: UInt64? { time.withLock { $0 } }

    func happened() { time.withLock { $0 = $0 ?? monotonicNow() } }
}

extension JSONEncoder {
    static var readable: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return encoder
    }
}
