// What is said while a broker, or a queue, is away.

import AMQP
import Foundation
import IdempotencyStore
import TestSupport
import Testing
import WorkerLog

@testable import RouteWorker

@Suite("Outages")
struct OutageTests {
    private let start = ContinuousClock.now
    private let lost = AMQPError.connectionLost("the broker closed the socket")
    private let refused = AMQPError.unreachable(host: "rabbit-1", port: 5672, reason: "connection refused")
    private let other = AMQPError.unreachable(host: "rabbit-2", port: 5672, reason: "connection refused")

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test("Each way of failing is said once, whatever comes in between, and then a reminder a minute")
    func once() {
        var outage = Outage<AMQPError>()
        outage.began(lost, now: at(0))
        #expect(outage.failed(lost, now: at(0)) == .repetition)
        #expect(outage.failed(refused, now: at(1)) == .news)
        #expect(outage.failed(other, now: at(2)) == .news)
        #expect(outage.failed(refused, now: at(3)) == .repetition)
        #expect(outage.failed(other, now: at(61)) == .repetition)
        #expect(outage.failed(refused, now: at(62)) == .reminder(away: .seconds(62)))
        #expect(outage.failed(other, now: at(121)) == .repetition)
        #expect(outage.failed(other, now: at(122)) == .reminder(away: .seconds(122)))
    }

    @Test("A broker that was never there is said, and one that is lost again is said anew")
    func anew() {
        var outage = Outage<AMQPError>()
        #expect(outage.failed(refused, now: at(0)) == .news)
        #expect(outage.failed(refused, now: at(1)) == .repetition)
        outage.began(lost, now: at(500))
        #expect(outage.failed(refused, now: at(501)) == .news)
        #expect(outage.failed(refused, now: at(561)) == .reminder(away: .seconds(61)))
    }

    @Test("It is over with the first attempt that works a second after the last that failed")
    func over() {
        var outage = Outage<String>()
        #expect(outage.worked(now: at(0)) == nil)
        #expect(outage.failed("full", now: at(10)) == .news)
        // A disk that is nearly full takes some of what it is given.
        #expect(outage.worked(now: at(10)) == nil)
        #expect(outage.failed("full", now: at(14)) == .repetition)
        #expect(outage.worked(now: at(15)) == .seconds(4))
        #expect(outage.worked(now: at(16)) == nil)
        #expect(outage.failed("full", now: at(17)) == .news)
    }

    @Test("Of a store whose every error has another text, some are said and then one a minute")
    func ever() {
        var outage = Outage<String>()
        let attempts = (0..<600).map { outage.failed("\($0) operations wait already", now: at($0 / 10)) }
        #expect(attempts.count { $0 == .news } == Outage<String>.maximumNews)
        #expect(attempts.count { $0 == .repetition } == 600 - Outage<String>.maximumNews)
        #expect(outage.failed("601 operations wait already", now: at(70)) == .reminder(away: .seconds(70)))
    }

    @Test("A queue that cannot be consumed is said once, and anew once it was consumed", .timeLimit(.minutes(1)))
    func queue() async throws {
        let log = try LogFile()
        let missing = AMQPError.channelClosed(code: 404, text: "NOT_FOUND - no queue 'routing.commands' in vhost '/'")
        func lines() throws -> [Substring] { try log.lines(containing: "consuming") }
        try await PipelineStage.run(log: log.log) { stage in
            for generation in [UInt64(1), 2] {
                stage.pipeline.receive(.subscribed(queue: PipelineStage.queue, generation: generation))
                for _ in 0..<3 {
                    stage.pipeline.receive(
                        .subscriptionLost(queue: PipelineStage.queue, generation: generation, missing))
                }
            }
            // Behind all of them.
            stage.pipeline.receive(.subscribed(queue: PipelineStage.queue, generation: 3))
            // The stage itself has subscribed once.
            try await until("the last line") { try lines().count { $0.contains("info consuming") } == 4 }
        }
        #expect(try lines().count { $0.contains("not consuming; run") } == 2)
    }

    @Test("A store that fails is said once, not for every attempt", .timeLimit(.minutes(1)))
    func store() async throws {
        let log = try LogFile()
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failures: 2)
        try await PipelineStage.run(store: store, log: log.log) { stage in
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            // Behind all of them.
            try await until("the last line") { try !log.lines(containing: "succeeded").isEmpty }
        }
        #expect(try log.lines(containing: "error cannot claim").count == 1)
        #expect(try log.lines(containing: "error cannot record").count == 1)
    }
}

/// A pipeline's log, to be read.
private final class LogFile {
    let log: LineLog
    private let folder: TemporaryFolder
    private let descriptor: Int32

    init() throws {
        folder = try TemporaryFolder()
        descriptor = open(folder.path("log"), O_WRONLY | O_CREAT | O_APPEND, 0o600)
        log = LineLog(label: "test", format: .human, writer: LogWriter(descriptor: descriptor, delay: .zero))
    }

    deinit { close(descriptor) }

    func lines(containing text: String) throws -> [Substring] {
        try String(contentsOfFile: folder.path("log"), encoding: .utf8).split(separator: "\n")
            .filter { $0.contains(text) }
    }
}
