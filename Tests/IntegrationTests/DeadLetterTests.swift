// `route-worker dead-letters` against a real broker, worker and store.

import AMQP
import AMQPMessage
import CommandClient
import DeadLetters
import Failpoints
import Foundation
import IdempotencyStore
import InteractionSandbox
import RoutingContract
import SQLiteIdempotencyStore
import TestSupport
import Testing

@Suite("dead-letters", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct DeadLetterTests {
    private typealias Run = CommandLineTests.Run

    /// One dead letter of each kind, in this order.
    struct Failures {
        let rejected = CommandSpec.route()
        let invalid = CommandSpec.route(org: "nobody")
        let expired = CommandSpec.route(deadline: -1)
        let unknown = CommandSpec.route(org: "globex")

        var all: [CommandSpec] { [rejected, invalid, expired, unknown] }
        var ids: [String] { all.map(\.id) }
    }

    /// Lets a worker fail one command after another, and leaves their dead letters behind.
    private func fail(_ failures: Failures, _ harness: WorkerHarness) async throws {
        let worker = try await harness.startWorker()
        try harness.sandbox.add(Fault(shorthand: "failure:10024@x1"))
        for (index, command) in failures.all.enumerated() {
            if command.id == failures.unknown.id { try harness.sandbox.add(Fault(shorthand: "reset-after@x1")) }
            try await harness.send([command])
            try await until("dead letter \(index + 1)") {
                try await harness.ready(in: harness.deadLetters) == index + 1
            }
        }
        #expect(await worker.stop() == .code(0))
    }

    private func run(_ harness: WorkerHarness, _ arguments: String...) async throws -> Run {
        await Run(try harness.tool("dead-letters", arguments))
    }

    /// What the queue holds, without what the broker counts; with its count it hands headers out in another order.
    private func content(
        _ harness: WorkerHarness, of queue: String? = nil, prefetch: UInt16 = .max
    ) async throws -> [Message] {
        var messages: [Message] = []
        try await AMQPAdmin.withConnection(harness.broker) { admin in
            let held = HeldQueue(admin, harness.broker, queue: queue ?? harness.deadLetters, prefetch: prefetch)
            try await held.look(keepsBodies: true) { deliveries in
                for var message in deliveries.map(\.message) {
                    message.properties.headers.fields.removeAll { $0.key.hasPrefix("x-") }
                    message.properties.headers.fields.sort { $0.key < $1.key }
                    messages.append(message)
                }
                return []
            }
        }
        return messages
    }

    private func calls(_ harness: WorkerHarness, _ command: CommandSpec) -> Int {
        harness.sandbox.ledger().filter { $0.requestID == command.id }.count
    }

    private func objects(_ text: String) throws -> [[String: Any]] {
        try text.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    @Test("Looking in every way, also interrupted, leaves order and content; one operator looks at a time")
    func looking() async throws {
        try await withHarness { harness in
            let failures = Failures()
            try await fail(failures, harness)
            let before = try await content(harness)
            #expect(before.map(\.requestID) == failures.ids)

            var run = try await run(harness, "list")
            #expect(run.exit == .code(0) && run.error.contains("4 dead letters"), "\(run.error)")
            let lines = run.output.split(separator: "\n").dropFirst(2)
            #expect(zip(lines, failures.ids).allSatisfy { $0.contains($1) } && lines.count == 4, "\(run.output)")
            run = try await self.run(harness, "list", "--json", "--org", "00D000000000001AAA", "--newer-than", "1h")
            let listed = try objects(run.output)
            #expect(listed.map { $0["outcome"] as? String } == ["rejected", "expired"], "\(run.output)")
            #expect(listed.first?["code"] as? Int == 10024 && listed.first?["org"] as? String == "acme")
            run = try await self.run(harness, "list", "--group", "--older-than", "2020-01-01T00:00:00Z")
            #expect(run.exit == .code(0) && run.output.isEmpty && run.error.contains("0 of 4 dead letters"))
            run = try await self.run(harness, "list", "--group", "--reason", "org-unknown")
            #expect(run.output.contains("invalid") && run.output.split(separator: "\n").count == 3, "\(run.output)")
            run = try await self.run(harness, "show", failures.unknown.id.uppercased())
            #expect(run.exit == .code(0) && run.output.contains("outcome         unknown"), "\(run.output)")
            #expect(run.output.contains(#""routingType":"Initial"#))
            run = try await self.run(harness, "show", newID())
            #expect(run.exit == .code(1) && run.error.contains("among 4"), "\(run.error)")
            let file = harness.folder.path("letters.jsonl")
            run = try await self.run(harness, "export", "--output", file, "--outcome", "invalid")
            #expect(run.exit == .code(0), "\(run.error)")
            let exported = try objects(String(contentsOfFile: file, encoding: .utf8))
            #expect(exported.map { $0["requestId"] as? String } == [failures.invalid.id])
            #expect((exported.first?["body"] as? String).map { Array($0.utf8) } == failures.invalid.message.body)
            run = try await self.run(harness, "export", "--output", file)
            #expect(run.exit == .code(1) && run.error.contains("exists"), "\(run.error)")
            #expect(try await content(harness) == before)

            // Somebody is in the middle of it, and is gone all of a sudden.
            let place = DeadLetterPlace(
                configuration: harness.broker, deadLetterQueue: harness.deadLetters, replayQueue: harness.replays,
                resultsQueue: harness.results, auditQueue: harness.audit, confirmTimeout: .seconds(30))
            struct Gone: Error {}
            var waiting: ChildProcess?
            await #expect(throws: Gone.self) {
                try await OperatorSession.with(place, who: "alice@host") { session in
                    try await session.deadLetters.look(keepsBodies: true) { _ in
                        let second = try await self.run(harness, "list")
                        #expect(second.exit == .code(1) && second.error.contains("alice@host"), "\(second.error)")
                        let third = try harness.tool("dead-letters", ["list", "--wait"])
                        try await third.line(containing: "alice@host; waiting")
                        waiting = third
                        let fourth = try harness.tool(
                            "dead-letters", ["discard", "--all", "--reason", "x", "--yes", "--wait"])
                        // (By whom, the third may know alone, which holds that note between two looks.)
                        try await fourth.line(containing: "; waiting")
                        fourth.send(SIGINT)
                        let interrupted = await Run(fourth)
                        #expect(
                            interrupted.exit == .code(1) && interrupted.error.contains("nothing was changed"),
                            "\(interrupted.error)")
                        throw Gone()
                    }
                }
            }
            run = await Run(try #require(waiting))
            #expect(run.exit == .code(0) && run.error.contains("4 dead letters"), "\(run.error)")
            #expect(try await content(harness) == before)
        }
    }

    @Test(
        "A replay is called for once; what needs consent or a deadline stays until it has them; all of it leaves a trail"
    )
    func replaying() async throws {
        try await withHarness { harness in
            let failures = Failures()
            try await fail(failures, harness)
            let before = try await content(harness)

            var run = try await run(harness, "replay", "--all", "--dry-run")
            #expect(run.exit == .code(1) && run.output.contains("would replay 1 of 4"), "\(run.output)\(run.error)")
            for words in ["--deadline", "--accept-duplicate", "org-unknown"] { #expect(run.output.contains(words)) }
            #expect(try await content(harness) == before)
            #expect(try await harness.ready(in: harness.replays) == 0)
            run = try await self.run(harness, "replay")
            #expect(run.exit == .code(2) && run.error.contains("say which"), "\(run.error)")

            // Killed when it has published and not acknowledged: the next one publishes the same once more.
            let killed = try harness.tool(
                "dead-letters", "replay", failures.rejected.id,
                environment: [Failpoint.variable: Failpoint.afterConfirm.rawValue])
            #expect(await killed.exit() == .signal(SIGKILL))
            try await until("the dead letters to be back") { try await harness.ready(in: harness.deadLetters) == 4 }
            #expect(try await content(harness) == before)
            run = try await self.run(harness, "replay", failures.rejected.id, "--reason", "the flow is there now")
            #expect(run.exit == .code(0) && run.output.contains("replayed 1 of 1"), "\(run.output)\(run.error)")
            let published = try await content(harness, of: harness.replays)
            #expect(published.count == 2 && published[0] == published[1])
            #expect(published[0].body == failures.rejected.message.body)
            #expect(try await content(harness) == Array(before.dropFirst()))

            let collector = try harness.collectAnswers()
            // The answers of the failures.
            try await collector.first(4)
            let worker = try await harness.startWorker()
            var answers = try await collector.first(6).suffix(2)
            #expect(answers.map(\.outcome) == [.succeeded, .succeeded] && answers.map(\.replay) == [1, 1])
            #expect(answers.map(\.duplicate) == [false, true] && calls(harness, failures.rejected) == 2)

            run = try await self.run(
                harness, "replay", "--outcome", "expired", "--outcome", "unknown", "--deadline", "10m",
                "--accept-duplicate", "--reason", "checked")
            #expect(run.exit == .code(0) && run.output.contains("replayed 2 of 2"), "\(run.output)\(run.error)")
            answers = try await collector.first(8).suffix(2)
            #expect(answers.allSatisfy { $0.outcome == .succeeded && $0.replay == 1 && !$0.duplicate })
            #expect(calls(harness, failures.expired) == 1 && calls(harness, failures.unknown) == 2)
            #expect(try await content(harness).map(\.requestID) == [failures.invalid.id])
            #expect(await worker.stop() == .code(0))

            run = try await self.run(harness, "trail", "--json", "--limit", "\(Int.max)")
            let trail = try objects(run.output)
            // The one that was killed had left its entry.
            #expect(trail.count == 4 && trail.allSatisfy { $0["action"] as? String == "replay" }, "\(run.output)")
            #expect((trail.first?["by"] as? String)?.contains("@") == true)
            #expect(trail[1]["reason"] as? String == "the flow is there now" && trail[1]["replay"] as? Int == 1)
        }
    }

    @Test("Unknown outcomes are resolved once and answered; the rest can be discarded; both with a reason")
    func closing() async throws {
        try await withHarness(HarnessOptions(settings: ["deadLetters.maximumAge=1m"])) { harness in
            let failures = Failures()
            try await fail(failures, harness)
            let collector = try harness.collectAnswers()
            try await collector.first(4)

            var run = try await run(harness, "resolve", failures.rejected.id, "--as", "failed", "--reason", "x")
            #expect(run.exit == .code(1) && run.error.contains("unknown outcome"), "\(run.error)")
            run = try await self.run(harness, "resolve", failures.unknown.id, "--as", "done", "--reason", "x")
            #expect(run.exit == .code(2) && run.error.contains("succeeded or failed"), "\(run.error)")
            run = try await self.run(
                harness, "resolve", failures.unknown.id, "--as", "succeeded", "--reason", "seen in Salesforce")
            #expect(run.exit == .code(0) && run.output.contains("in \(harness.results)"), "\(run.output)\(run.error)")
            let answer = try #require(try await collector.first(5).last)
            #expect(answer.outcome == .succeeded && answer.replay == 1 && answer.requestID == failures.unknown.id)
            run = try await self.run(harness, "resolve", failures.unknown.id, "--as", "failed", "--reason", "x")
            #expect(run.exit == .code(1) && run.error.contains("no dead letter"), "\(run.error)")
            run = await Run(try harness.tool("explain", [failures.unknown.id]))
            #expect(run.output.contains("outcome     succeeded"), "\(run.output)")
            // Whoever asks again is told the same.
            let worker = try await harness.startWorker()
            try await harness.send([failures.unknown])
            let again = try #require(try await collector.first(6).last)
            #expect(again.outcome == .succeeded && again.duplicate && calls(harness, failures.unknown) == 1)
            // One that asked from a queue which is gone.
            let gone = CommandSpec.route(org: "globex").replying(to: "routing.replies.\(newID())")
            try harness.sandbox.add(Fault(shorthand: "reset-after@x1"))
            try await harness.send([gone])
            try await until("its dead letter") { try await harness.ready(in: harness.deadLetters) == 4 }
            #expect(await worker.stop() == .code(0))
            // Somebody else took its replay up, and died.
            try await claimForAnInstant(gone, in: harness)
            run = try await self.run(
                harness, "resolve", gone.id, "--org", "globex", "--as", "failed", "--reason", "no routing")
            #expect(run.exit == .code(1) && run.error.contains("look again"), "\(run.output)\(run.error)")
            run = try await self.run(
                harness, "resolve", gone.id, "--org", "globex", "--command", "route", "--as", "failed", "--reason",
                "no routing")
            #expect(run.exit == .code(0) && run.output.contains("is gone"), "\(run.output)\(run.error)")
            let failed = try #require(try await collector.first(7).last)
            #expect(failed.outcome == .exhausted && failed.reason == "resolved-failed" && failed.requestID == gone.id)
            #expect(failed.errorMessage == "no routing")

            run = try await self.run(harness, "discard", "--all", "--reason", "x")
            #expect(run.exit == .code(2) && run.error.contains("--yes"), "\(run.error)")
            run = try await self.run(harness, "discard", "--overdue", "--reason", "age", "--yes")
            #expect(run.exit == .code(0) && run.output.contains("discarded 0 of 0"), "\(run.output)\(run.error)")
            run = try await self.run(harness, "discard", failures.expired.id, "--reason", "too late", "--yes")
            #expect(run.exit == .code(0) && run.output.contains("discarded 1 of 1"), "\(run.output)\(run.error)")
            #expect(
                try await content(harness).map(\.requestID) == [failures.rejected.id, failures.invalid.id])
            run = try await self.run(harness, "trail")
            let lines = run.output.split(separator: "\n").dropFirst(2)
            #expect(lines.count == 3 && lines.first?.contains("resolve as succeeded") == true, "\(run.output)")
            #expect(lines.last?.contains("too late") == true)

            try await harness.delete(harness.audit)
            run = try await self.run(harness, "discard", "--all", "--reason", "x", "--yes")
            #expect(run.exit == .code(1) && run.output.contains("topology declare"), "\(run.output)")
            #expect(try await content(harness).count == 2)
            try await harness.delete(harness.deadLetters)
            run = try await self.run(harness, "list")
            #expect(run.exit == .code(1) && run.error.contains("topology declare"), "\(run.error)")
        }
    }

    /// Claims a command's replay as a worker does that dies soon after.
    private func claimForAnInstant(_ command: CommandSpec, in harness: WorkerHarness) async throws {
        let store = BatchingIdempotencyStore(try SQLiteStoreBackend(path: harness.folder.path("store.db")))
        let key = CommandKey(
            org: try #require(OrgID("00D000000000002AAA")), kind: .route, request: try #require(RequestID(command.id)))
        let record = try #require(try await store.find(key))
        let claim = try await store.claim(
            ClaimRequest(
                key: key, fingerprint: record.fingerprint, conversation: "c", replay: 1, acceptsSecondEffect: true,
                lease: .milliseconds(1), worker: "gone"))
        let isAcquired = if case .acquired = claim { true } else { false }
        #expect(isAcquired, "\(claim)")
        await store.close()
    }

    @Test("A look beside somebody who does not heed the lock is not taken for the whole")
    func shared() async throws {
        try await withHarness { harness in
            _ = try await publish(3, harness)
            let received = Collected<[Delivery]>()
            let other = try AMQPConsumer(
                harness.broker, subscriptions: [Subscription(queue: harness.deadLetters, prefetch: 1)]
            ) { event in
                if case .deliveries(let deliveries) = event { received.append(deliveries) }
            }
            other.start()
            try await until("one that is held") { !received.all.isEmpty }
            try await AMQPAdmin.withConnection(harness.broker) { admin in
                let held = HeldQueue(admin, harness.broker, queue: harness.deadLetters, patience: .seconds(3))
                var look = try await held.look(keepsBodies: false) { _ in [] }
                #expect(look.seen == 2 && look.isShared && !look.isWhole)
                other.closeNow()
                try await until("all to be back") { try await admin.queue(harness.deadLetters)?.messages == 3 }
                look = try await held.look(keepsBodies: false) { _ in [] }
                #expect(look.seen == 3 && !look.isShared && look.isWhole)
            }
        }
    }

    /// - Returns: their RequestIds.
    private func publish(_ count: Int, _ harness: WorkerHarness) async throws -> [String?] {
        let letters = (0..<count).map { _ in
            var message = CommandSpec.route().message
            message.properties.headers["Outcome"] = .string("exhausted")
            message.properties.headers["DeadLetteredAt"] = .string("2026-03-01T12:00:00.000Z")
            message.properties.messageID = newID()
            return message
        }
        try await harness.publishUntilConfirmed(letters.map { OutgoingMessage($0, routingKey: harness.deadLetters) })
        return letters.map(\.requestID)
    }

    @Test("What takes many consumers to hold keeps its order, also when the connection dies or some of it is acked")
    func manyConsumers() async throws {
        try await withHarness { harness in
            let ids = try await publish(3000, harness)
            try await AMQPAdmin.withConnection(harness.broker) { admin in
                struct Gone: Error {}
                func held(_ prefetch: UInt16) -> HeldQueue {
                    HeldQueue(admin, harness.broker, queue: harness.deadLetters, prefetch: prefetch)
                }
                // Too many even for all consumers.
                for _ in 0..<2 {
                    var seen: [String?] = []
                    let look = try await held(50).look(keepsBodies: false) { deliveries in
                        seen += deliveries.map(\.message.requestID)
                        return []
                    }
                    #expect(look.isCut && seen == Array(ids.prefix(50 * Subscription.maximumConsumers)))
                }
                for _ in 0..<2 {
                    #expect(try await content(harness, prefetch: 100).map(\.requestID) == ids)
                    await #expect(throws: Gone.self) {
                        try await held(100).look(keepsBodies: false) { _ in throw Gone() }
                    }
                }
                let received = Collected<[Delivery]>()
                let subscription = Subscription(queue: harness.deadLetters, prefetch: 100, consumers: 30)
                let consumer = try AMQPConsumer(harness.broker, subscriptions: [subscription]) { event in
                    if case .deliveries(let deliveries) = event { received.append(deliveries) }
                }
                consumer.start()
                let all = try await eventually("all of them") {
                    let all = received.all.flatMap { $0 }
                    return all.count == ids.count ? all : nil
                }
                #expect(all.map(\.message.requestID) == ids)
                consumer.closeNow()
                try await until("all to be back") { try await admin.queue(harness.deadLetters)?.messages == ids.count }
                #expect(try await content(harness, prefetch: 100).map(\.requestID) == ids)

                var number = 0
                try await held(100).look(keepsBodies: false) { deliveries in
                    deliveries.compactMap { delivery in
                        defer { number += 1 }
                        return number.isMultiple(of: 3) ? delivery.receipt : nil
                    }
                }
                // The broker may forget acks when it is slow, but not the order.
                let after = try await content(harness, prefetch: 100).map(\.requestID)
                #expect(after == ids.filter(Set(after).contains))
                let left = ids.indices.filter { !$0.isMultiple(of: 3) }.map { ids[$0] }
                #expect(Set(left).isSubset(of: after) && after.count < ids.count)
            }
        }
    }

    @Test("Thousands keep their order; Ctrl-C in the middle of a replay leaves each in one place, and says so")
    func interrupted() async throws {
        try await withHarness { harness in
            let ids = try await publish(3000, harness)
            // Each look hands out in the order in which the one before found and left them.
            for _ in 0..<3 { #expect(try await content(harness).map(\.requestID) == ids) }

            // Stopped with its first batch published, so that the signal is there before the next begins.
            let replay = try harness.tool(
                "dead-letters", "replay", "--outcome", "exhausted",
                environment: [Failpoint.variable: Failpoint.afterConfirm.rawValue + ":stop"])
            try await until("a replay that stands still") { try replay.isStopped }
            replay.send(SIGINT)
            replay.send(SIGCONT)
            var run = await Run(replay)
            #expect(run.exit == .code(1) && run.output.contains("interrupted"), "\(run.output)\(run.error)")
            let left = try await content(harness).map(\.requestID)
            let replayed = try await content(harness, of: harness.replays).map(\.requestID)
            #expect(replayed + left == ids && !replayed.isEmpty && !left.isEmpty)
            #expect(run.output.contains("replayed \(replayed.count) of"), "\(run.output)")

            run = try await self.run(harness, "replay", "--all", "--limit", "7")
            #expect(run.exit == .code(0) && run.output.contains("replayed 7 of 7"), "\(run.output)\(run.error)")
            #expect(try await content(harness).map(\.requestID) == Array(left.dropFirst(7)))
        }
    }

    @Test("What nobody reads stops no operator's work", arguments: ["2>/dev/full", "2>&-", "2>&- <&-"])
    func unread(redirection: String) async throws {
        try await withHarness { harness in
            let ids = try await publish(3, harness)
            let replay = try CommandLineTests.shell(
                ["dead-letters", "replay", "--all", "--config", harness.configFile], redirection,
                environment: ["AMQP_URL": harness.brokerURL])
            let run = await Run(replay)
            #expect(run.exit == .code(0) && run.output.contains("replayed 3 of 3"), "\(run.exit) \(run.output)")
            #expect(try await content(harness, of: harness.replays).map(\.requestID) == ids)
        }
    }

    @Test("What comes while the question stands, which nobody was asked about, stays")
    func asked() async throws {
        try await withHarness { harness in
            _ = try await publish(2, harness)
            let (answers, screen) = (harness.folder.path("answers"), harness.folder.path("screen"))
            #expect(mkfifo(answers, 0o600) == 0)
            // On a terminal of its own.
            let discard = try ChildProcess(
                URL(fileURLWithPath: "/bin/sh"),
                [
                    "-c", "exec script -qefc \"$0\" \"$1\" <\"$2\"",
                    "'\(try ChildProcess.product("route-worker").path)' dead-letters discard --config "
                        + "'\(harness.configFile)' --older-than 1h --reason x",
                    screen, answers,
                ], environment: ["AMQP_URL": harness.brokerURL])
            let keys = try #require(FileHandle(forWritingAtPath: answers))
            try await until("the question") {
                (try? String(contentsOfFile: screen, encoding: .utf8))?.contains("2 dead letters? [y/N]") ?? false
            }
            let late = try await publish(2, harness)
            try keys.write(contentsOf: Data("y\n".utf8))
            let run = await Run(discard)
            try keys.close()
            #expect(run.exit == .code(0) && run.output.contains("discarded 2 of 2"), "\(run.exit) \(run.output)")
            #expect(try await content(harness).map(\.requestID) == late)
        }
    }

    @Test("A broker that cannot be reached is said, and no file is left for what was not exported")
    func unreachable() async throws {
        let folder = try TemporaryFolder()
        let export = try await CommandLineTests.Run([
            "dead-letters", "export", "--output", folder.path("letters"), "--set", "amqp.url=amqp://127.0.0.1:1/",
        ])
        #expect(export.exit == .code(1) && export.error.contains("cannot connect"), "\(export.error)")
        #expect(!FileManager.default.fileExists(atPath: folder.path("letters")))
        let run = try await CommandLineTests.Run(
            ["dead-letters", "list", "--set", "amqp.url=amqp://127.0.0.1:1/"])
        #expect(run.exit == .code(1) && run.error.contains("cannot connect"), "\(run.error)")
    }
}
