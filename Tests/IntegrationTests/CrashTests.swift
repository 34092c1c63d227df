// A worker or a broker that dies in the middle of a call: one call all the same, and an answer.

import CommandClient
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Crashes in mid-call", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct CrashTests {
    /// A short lease, since an interrupted call is only decided when its lease ends.
    private static let shortLease = ["defaults.callTimeout=5s", "store.timeout=1s", "store.lease=11500ms"]

    @Test("A route whose worker was killed is unknown, a delete is made again, what had not begun succeeds")
    func workerKilled() async throws {
        // Together, so that the lease that has to run out is waited for once.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in HarnessOptions.Store.allCases { group.addTask { try await Self.workerKilled(store) } }
            try await group.waitForAll()
        }
    }

    private static func workerKilled(_ store: HarnessOptions.Store) async throws {
        try await withHarness(HarnessOptions(settings: shortLease, store: store)) { harness in
            var worker = try await harness.startWorker()
            let (cleared, busy) = (newID(), newID())
            _ = try await harness.ask(.route(cleared))
            // Both take effect, and no answer comes.
            try harness.sandbox.add(Fault(shorthand: "hang-after"))
            let (route, delete) = (CommandSpec.route(busy), CommandSpec.delete(cleared))
            let behind = CommandSpec.route(busy)
            try await harness.send([route, delete, behind])
            try await until("both calls") { harness.sandbox.ledger().count == 3 }
            await worker.crash()
            harness.sandbox.removeFaults()

            let answers = try harness.collectAnswers()
            worker = try await harness.startWorker()
            let byID = Dictionary(
                try await answers.first(3).map { ($0.requestID ?? "", $0) }, uniquingKeysWith: { $1 })
            #expect(byID[route.id]?.outcome == .unknown && byID[route.id]?.reason == "interrupted")
            #expect(harness.sandbox.effects(of: route.id).requests == 1)
            #expect(byID[delete.id]?.outcome == .succeeded)
            #expect(harness.sandbox.effects(of: delete.id).requests == 2)
            #expect(byID[behind.id]?.outcome == .succeeded)
            #expect(harness.sandbox.effects(of: behind.id).requests == 1)
            let letter = try await harness.deadLetter()
            #expect(letter.requestID == route.id && letter.outcome == "unknown")
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)
        }
    }

    @Test("Under the policy retry the interrupted route is called for again")
    func workerKilledUnderRetry() async throws {
        try await withHarness(HarnessOptions(settings: Self.shortLease + ["defaults.unknownEffect=retry"])) { harness in
            let worker = try await harness.startWorker()
            try harness.sandbox.add(Fault(shorthand: "hang-after@x1"))
            let route = CommandSpec.route()
            try await harness.send([route])
            try await until("the call") { harness.sandbox.ledger().count == 1 }
            await worker.crash()

            let answers = try harness.collectAnswers()
            _ = try await harness.startWorker()
            #expect(try await answers.first(1)[0].outcome == .succeeded)
            #expect(harness.sandbox.effects(of: route.id).effects == 2)
        }
    }

    @Test("Calls that outlive their broker are recorded, and answered when it is back, without a second call")
    func brokerKilled() async throws {
        try await withPrivateBroker { broker in
            try await withHarness(HarnessOptions(brokerURL: broker.url)) { harness in
                let worker = try await harness.startWorker()
                // By the time of this answer the queues are old enough for a kill, see PrivateBroker.kill().
                try harness.sandbox.add(Fault(shorthand: "latency=1200@x1"))
                _ = try await harness.ask(.route())
                try harness.sandbox.add(Fault(shorthand: "latency=1500"))
                let commands = (0..<10).map { _ in CommandSpec.route() }
                try await harness.send(commands)
                try await until("the calls") { harness.sandbox.ledger().count == 11 }
                try await broker.kill()
                try await broker.restart()

                let answers = try harness.collectAnswers()
                try await answers.answered(10)
                #expect(Set(answers.all.compactMap(\.requestID)) == Set(commands.map(\.id)))
                #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
                #expect(commands.allSatisfy { harness.sandbox.effects(of: $0.id).requests == 1 })
                try await harness.allAcknowledged(at: broker)
                #expect(await worker.stop() == .code(0))
                #expect(try await harness.left(in: harness.queues[0]) == 0)
            }
        }
    }
}
