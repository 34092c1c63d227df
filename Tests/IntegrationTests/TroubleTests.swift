// Other parts in trouble: slow orgs, a broker under a memory alarm, a locked store. Commands wait, none is lost.

import CommandClient
import Foundation
import InteractionSandbox
import TestSupport
import Testing

@Suite("Other parts in trouble", .serialized, .showsWorkerLog, .timeLimit(.minutes(4)))
struct TroubleTests {
    @Test("A backlog of slow routes does not keep a transfer on its own queue waiting")
    func shares() async throws {
        var options = HarnessOptions(settings: ["worker.concurrency=3", "defaults.callTimeout=39s"])
        options.queues = [("commands", "{prefetch: 50}"), ("transfers", "{prefetch: 4, concurrency: 1}")]
        try await withHarness(options) { harness in
            // Calls for acme take for ever: none of the slots that they hold comes free during this test.
            try harness.sandbox.add(Fault(.hang, match: .init(org: "00D000000000001")))
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            try await harness.send((0..<20).map { _ in .route() })
            try await until("calls in all slots of the backlog") { harness.sandbox.ledger().count == 2 }

            let transfers = (0..<3).map { _ in CommandSpec.route(type: "Transfer", org: "globex") }
            try await harness.send(transfers, to: 1)
            #expect(Set(try await answers.first(3).compactMap(\.requestID)) == Set(transfers.map(\.id)))
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            // The backlog kept to its share.
            #expect(harness.sandbox.ledger(LedgerFilter(org: "00D000000000001")).count == 2)
            await worker.crash()
            #expect(try await harness.left(in: harness.queues[0]) == 20)
            // The acknowledgement of the last one may not have left yet.
            #expect(try await harness.left(in: harness.queues[1]) <= 1)
        }
    }

    @Test("A memory alarm of the broker holds answers up and loses none")
    func memoryAlarm() async throws {
        try await withPrivateBroker { broker in
            // Shorter than the alarm, so that publishing is tried again during it.
            let options = HarnessOptions(settings: ["answers.confirmTimeout=1s"], brokerURL: broker.url)
            try await withHarness(options) { harness in
                let commands = (0..<200).map { _ in CommandSpec.route() } + [.route(deadline: -5)]
                try await harness.send(commands)
                // Of a stream of controls in which nothing stands a worker has to mark the end before it starts.
                #expect(await CommandLineTests.Run(try harness.tool("controls")).exit == .code(0))
                try await broker.ctl(["set_vm_memory_high_watermark", "0.00001"])
                let worker = try await harness.startWorker()
                let answers = try harness.collectAnswers()
                // The prefetch: what cannot be answered is not acknowledged, so no more comes.
                try await until("calls during the alarm") { harness.sandbox.ledger().count >= 100 }
                #expect(answers.all.isEmpty)

                try await broker.ctl(["set_vm_memory_high_watermark", "0.6"])
                try await answers.answered(commands.count)
                #expect(await worker.stop() == .code(0))
                #expect(try await harness.left(in: harness.queues[0]) == 0)
                #expect(commands.dropLast().allSatisfy { harness.sandbox.effects(of: $0.id).effects == 1 })
                let letters = try await harness.take(from: harness.deadLetters)
                #expect(Set(letters.compactMap(\.requestID)) == [commands[200].id])
            }
        }
    }

    @Test("While the store is locked commands wait; none is called for without a claim")
    func lockedBeforeClaim() async throws {
        try await withHarness(HarnessOptions(settings: ["store.timeout=300ms"])) { harness in
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let lock = try await harness.lockStore()
            let commands = (0..<20).map { _ in CommandSpec.route() }
            try await harness.send(commands)
            try await worker.line(containing: "cannot claim")
            #expect(harness.sandbox.ledger().isEmpty)
            await lock.crash()
            #expect(try await answers.first(20).allSatisfy { $0.outcome == .succeeded && !$0.duplicate })
            #expect(commands.allSatisfy { harness.sandbox.effects(of: $0.id).effects == 1 })
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)
        }
    }

    @Test("A result that the store does not take is kept until it does, and not called for again")
    func lockedBeforeRecord() async throws {
        try await withHarness(HarnessOptions(settings: ["store.timeout=300ms"])) { harness in
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            try harness.sandbox.add(Fault(shorthand: "latency=4000"))
            let commands = (0..<5).map { _ in CommandSpec.route() }
            try await harness.send(commands)
            try await until("the calls") { harness.sandbox.ledger().count == 5 }
            let lock = try await harness.lockStore()
            try await worker.line(containing: "cannot record")
            #expect(answers.all.isEmpty)
            await lock.crash()
            #expect(try await answers.first(5).allSatisfy { $0.outcome == .succeeded })
            #expect(commands.allSatisfy { harness.sandbox.effects(of: $0.id).requests == 1 })
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)
        }
    }
}

extension WorkerHarness {
    /// Takes the store's write lock from a process of its own, for as long as that runs.
    fileprivate func lockStore() async throws -> ChildProcess {
        let script = """
            import signal, sqlite3, sys
            store = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
            store.execute("BEGIN IMMEDIATE")
            print("locked", flush=True)
            signal.pause()
            """
        let child = try ChildProcess(
            URL(fileURLWithPath: TestPython.interpreter), ["-c", script, folder.path("store.db")])
        try await child.line(containing: "locked")
        return child
    }
}
