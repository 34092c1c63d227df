// Orgs in trouble: parked on the broker, in order, while the others work on; and back by themselves.

import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Parking", .serialized, .showsWorkerLog, .timeLimit(.minutes(4)))
struct ParkingTests {
    /// Probes often, so that tests are short.
    private static let settings = [
        "defaults.probe.minimum=100ms", "defaults.probe.maximum=400ms", "defaults.breaker.minimumCalls=3",
        "defaults.retry.minimum=10ms", "defaults.retry.maximum=100ms",
    ]
    private static let acme = "00D000000000001"

    @Test("Of 300 orgs, the 20 in trouble hold up nobody, keep their order, and come back by themselves")
    func manyOrgs() async throws {
        let folder = try TemporaryFolder()
        let orgs = (100..<400).map { number in
            (
                alias: "org\(number)", id: "00D000000000\(number)",
                settings: number < 110 ? "tokenFile: \(folder.path("token\(number)"))" : ""
            )
        }
        let withoutToken = Array(orgs[0..<10])
        let failing = Array(orgs[10..<20])
        let options = HarnessOptions(orgs: orgs, settings: Self.settings)
        try await withHarness(options) { harness in
            for org in failing { try harness.sandbox.add(Fault(.status, match: .init(org: org.id), status: 503)) }
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()

            var troubled: [CommandSpec] = []
            var late: [CommandSpec] = []
            var well: [CommandSpec] = []
            let conversations = (withoutToken + failing).map { org in (org: org.alias, conversation: newID()) }
            for _ in 0..<10 {
                for (org, conversation) in conversations {
                    troubled.append(.route(conversation, org: org))
                    troubled.append(.route(org: org))
                }
                well += orgs[20...].map { .route(org: $0.alias) }
            }
            late = withoutToken.map { .route(org: $0.alias, deadline: 4) }
            // Mixed, so that a prefetch full of those in trouble would hold up the others.
            var all = late
            for index in 0..<well.count {
                if index < troubled.count { all.append(troubled[index]) }
                all.append(well[index])
            }
            try await harness.send(all)

            // All others are done while those are still in trouble; theirs are parked, or too late.
            let wellIDs = Set(well.map(\.id))
            try await until("the answers of the orgs that are well") {
                answers.all.count { wellIDs.contains($0.requestID ?? "") } >= well.count
            }
            #expect(answers.all.allSatisfy { wellIDs.contains($0.requestID ?? "") || $0.outcome == .expired })
            let memory = try worker.residentKilobytes
            let lateIDs = Set(late.map(\.id))
            try await until("the answers of those that are too late") {
                answers.all.count { lateIDs.contains($0.requestID ?? "") } >= late.count
            }
            #expect(
                answers.all.filter { lateIDs.contains($0.requestID ?? "") }.allSatisfy {
                    $0.outcome == .expired && ($0.errorMessage ?? "").contains(" ms")
                })
            #expect(try await harness.ready(in: harness.queues[0]) == 0)
            #expect(try worker.residentKilobytes < memory + 32 * 1024)

            for org in withoutToken { _ = try folder.write("a-token\n", to: "token\(org.alias.dropFirst(3))") }
            harness.sandbox.removeFaults()
            try await answers.first(all.count)
            let troubledIDs = Set(troubled.map(\.id))
            let returned = answers.all.filter { troubledIDs.contains($0.requestID ?? "") }
            #expect(Set(returned.compactMap(\.requestID)) == troubledIDs)
            #expect(returned.allSatisfy { $0.outcome == .succeeded })
            #expect(troubled.allSatisfy { harness.sandbox.effects(of: $0.id).effects == 1 })
            for (org, conversation) in conversations {
                let sent = troubled.filter { $0.routes(conversation) && $0.isFor(org) }.map(\.id)
                let made = harness.sandbox.ledger(LedgerFilter(conversation: conversation)).filter {
                    $0.effect == .created
                }
                #expect(made.compactMap(\.requestID) == sent)
            }
            #expect(Set(try await harness.take(from: harness.deadLetters).compactMap(\.requestID)) == lateIDs)
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("A command that a firewall refuses whenever it is called for does not keep its org parked")
    func refusedForItself() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings)) { harness in
            let conversation = newID()
            var fault = Fault(.status, match: .init(conversation: conversation), status: 403)
            fault.body = "<html>Forbidden</html>"
            try harness.sandbox.add(fault)
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let bad = CommandSpec.route(conversation)
            try await harness.send([bad])
            func answer(to command: CommandSpec) -> Answer? { answers.all.first { $0.requestID == command.id } }
            while answer(to: bad) == nil {
                let other = CommandSpec.route()
                try await harness.send([other])
                try await until("the answer to another command") { answer(to: other) != nil }
                #expect(answer(to: other)?.outcome == .succeeded)
            }
            #expect(answer(to: bad)?.outcome == .rejected && answer(to: bad)?.reason == "forbidden")
            #expect(try await harness.take(from: harness.deadLetters).map(\.requestID) == [bad.id])
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test(
        "An org that gets more commands than it takes holds up no other: its surplus is parked and comes back in order",
        arguments: ["rateLimit: 40", "maximumConcurrency: 2"])
    func surplus(limit: String) async throws {
        let org = "00D000000000003"
        let options = HarnessOptions(orgs: [(alias: "busy", id: org, settings: limit)])
        try await withHarness(options) { harness in
            try harness.sandbox.add(
                Fault(.latency, match: .init(org: org), latency: .milliseconds(50) ... .milliseconds(50)))
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let conversations = (0..<40).map { _ in newID() }
            let flood = (0..<300).map { CommandSpec.route(conversations[$0 % 40], org: "busy") }
            let well = (0..<50).map { _ in CommandSpec.route() }
            try await harness.send(flood + well)

            let wellIDs = Set(well.map(\.id))
            try await until("the answers of the other org") {
                answers.all.count { wellIDs.contains($0.requestID ?? "") } == well.count
            }
            // With the whole prefetch theirs, all but 128 would have been done before.
            #expect(answers.all.count < well.count + flood.count - 128)
            try await worker.line(containing: "the surplus is parked")
            try await worker.line(containing: "the org's commands are not parked any more")
            try await answers.answered(flood.count + well.count)
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            for (index, conversation) in conversations.enumerated() {
                let sent = flood.enumerated().filter { $0.offset % 40 == index }.map(\.element.id)
                #expect(harness.created(conversation) == sent)
            }
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.take(from: harness.deadLetters).isEmpty)
        }
    }

    @Test("A replay is honoured on the replay queue alone, and stays one while its org is parked")
    func replayIsParked() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings)) { harness in
            let worker = try await harness.startWorker()
            try harness.sandbox.add(Fault(.status, match: .init(org: Self.acme), status: 400))
            var command = CommandSpec.route()
            #expect(try await harness.ask(command)[0].outcome == .rejected)
            harness.sandbox.removeFaults()
            command.message.properties.headers["Replay"] = .int32(1)
            let ignored = try await harness.ask(command)[0]
            #expect(ignored.outcome == .rejected && ignored.duplicate)

            try harness.sandbox.add(Fault(.status, match: .init(org: Self.acme), status: 503))
            let replay = command
            async let sent = CommandSender(harness.broker, queue: harness.replays).send(
                [replay], awaitingAnswers: .seconds(60))
            let lot = ParkingQueue.name(of: harness.replays, org: try #require(OrgID(Self.acme)))
            try await until("the parked replay") { try await harness.ready(in: lot) == 1 }
            harness.sandbox.removeFaults()
            let answer = try #require(try await sent[0].answer)
            #expect(answer.outcome == .succeeded && answer.replay == 1 && answer.requestID == replay.id)
            #expect(harness.sandbox.effects(of: replay.id).effects == 1)
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.replays) == 0)
        }
    }

    @Test("A worker that is killed while it has parked an org leaves nothing behind that its successor does not find")
    func workerKilledWhileParked() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings)) { harness in
            try harness.sandbox.add(Fault(.status, match: .init(org: Self.acme), status: 503))
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let conversation = newID()
            let commands = (0..<30).map { _ in CommandSpec.route(conversation) }
            try await harness.send(commands)
            try await until("parked commands") { try await harness.parked() == commands.count }
            await worker.crash()

            harness.sandbox.removeFaults()
            let next = try await harness.startWorker()
            // Behind them, though it comes from the commands queue.
            let fresh = CommandSpec.route(conversation)
            try await harness.send([fresh])
            try await answers.answered(commands.count + 1)
            #expect(harness.created(conversation) == (commands + [fresh]).map(\.id))
            #expect(await next.stop() == .code(0))
            #expect(try await harness.parked() == 0)
        }
    }

    @Test("A worker that is killed while an org returns: each command is called once, in its order")
    func workerKilledWhileReturning() async throws {
        let shortLease = ["defaults.callTimeout=5s", "store.timeout=1s", "store.lease=11500ms"]
        try await withHarness(HarnessOptions(settings: Self.settings + shortLease)) { harness in
            try harness.sandbox.add(Fault(.status, match: .init(org: Self.acme), status: 503))
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let conversation = newID()
            let commands = (0..<20).map { _ in CommandSpec.route(conversation) }
            try await harness.send(commands)
            try await until("parked commands") { try await harness.parked() == commands.count }
            // Slow enough to be caught in the middle.
            harness.sandbox.removeFaults()
            try harness.sandbox.add(
                Fault(.latency, match: .init(method: "POST"), latency: .milliseconds(100) ... .milliseconds(100)))
            try await until("the return") { harness.created(conversation).count >= 3 }
            await worker.crash()

            harness.sandbox.removeFaults()
            let next = try await harness.startWorker()
            try await answers.answered(commands.count)
            #expect(harness.created(conversation) == commands.map(\.id))
            // The one in mid-call may have taken effect, and nobody knows.
            let outcomes = answers.all.map(\.outcome)
            #expect(outcomes.count { $0 == .unknown } <= 1)
            #expect(outcomes.allSatisfy { $0 == .succeeded || $0 == .unknown })
            #expect(await next.stop() == .code(0))
        }
    }

    @Test("A broker that is killed while an org is parked: nothing is lost, and the order holds")
    func brokerKilledWhileParked() async throws {
        try await withPrivateBroker { broker in
            try await withHarness(HarnessOptions(settings: Self.settings, brokerURL: broker.url)) { harness in
                try harness.sandbox.add(Fault(.status, match: .init(org: Self.acme), status: 503))
                let worker = try await harness.startWorker()
                let conversation = newID()
                let commands = (0..<30).map { _ in CommandSpec.route(conversation) }
                try await harness.send(commands)
                try await until("parked commands") { try await harness.parked() == commands.count }
                // Older than a second, see PrivateBroker.kill().
                try harness.sandbox.add(Fault(shorthand: "latency=1200@x1"))
                _ = try await harness.ask(.route(org: "globex"))
                try await broker.kill()
                try await broker.restart()

                harness.sandbox.removeFaults()
                let answers = try harness.collectAnswers()
                try await answers.answered(commands.count)
                #expect(harness.created(conversation) == commands.map(\.id))
                #expect(await worker.stop() == .code(0))
            }
        }
    }

    @Test("Two workers park and bring back one org together: no command is lost or called twice, both are live again")
    func twoWorkers() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings + ["worker.concurrency=4"])) { harness in
            try harness.sandbox.add(Fault(.status, match: .init(org: Self.acme), status: 503))
            let workers = [try await harness.startWorker(), try await harness.startWorker()]
            let answers = try harness.collectAnswers()
            let commands = (0..<200).map { _ in CommandSpec.route() }
            try await harness.send(commands)
            for worker in workers { try await worker.line(containing: "the org is parked") }
            try await until("parked commands") { try await harness.parked() == commands.count }
            harness.sandbox.removeFaults()
            for worker in workers { try await worker.line(containing: "the org's commands are not parked any more") }
            try await answers.answered(commands.count)
            #expect(Set(answers.all.compactMap(\.requestID)) == Set(commands.map(\.id)))
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            #expect(commands.allSatisfy { harness.sandbox.effects(of: $0.id).effects == 1 })
            for worker in workers { #expect(await worker.stop() == .code(0)) }
            #expect(try await harness.parked() == 0)
        }
    }
}

extension WorkerHarness {
    /// The requests that routed a conversation, in order.
    fileprivate func created(_ conversation: String) -> [String] {
        sandbox.ledger(LedgerFilter(conversation: conversation)).filter { $0.effect == .created }.compactMap(
            \.requestID)
    }
}

extension CommandSpec {
    fileprivate func routes(_ conversation: String) -> Bool {
        String(decoding: message.body, as: UTF8.self).contains(conversation)
    }

    fileprivate func isFor(_ org: String) -> Bool { message.text(HeaderName.orgID) == org }
}

extension ChildProcess {
    /// What the kernel says of its memory.
    fileprivate var residentKilobytes: Int {
        get throws {
            let status = try String(contentsOfFile: "/proc/\(processID)/status", encoding: .utf8)
            let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
            return try #require(Int(line.split(separator: " ")[1]))
        }
    }
}
