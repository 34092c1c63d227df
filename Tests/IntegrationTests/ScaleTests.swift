// More workers do more: where the calls' latency is the limit, throughput grows with the workers.

import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Scaling out", .serialized, .showsWorkerLog, .timeLimit(.minutes(4)))
struct ScaleTests {
    /// So many calls of each worker are timed.
    private static let calls = 40

    @Test("Throughput grows with 1, 2, 4 and 8 workers, and every conversation keeps its order")
    func moreWorkers() async throws {
        // One call at a time for each worker, so that what a machine can take is not the limit.
        let options = HarnessOptions(partitions: 8, settings: ["worker.concurrency=1"])
        try await withHarness(options) { harness in
            try harness.sandbox.add(Fault(shorthand: "latency=50"))
            let conversations = (0..<200).map { _ in newID() }
            let sent = (0..<6000).map { (conversations[$0 % 200], CommandSpec.route(conversations[$0 % 200])) }
            try await harness.send(sent.map(\.1))
            var workers: [ChildProcess] = []
            var rates: [Double] = []
            for count in [1, 2, 4, 8] {
                while workers.count < count { workers.append(try await harness.startWorker()) }
                try await harness.sharedEvenly(among: workers)
                let (before, start) = (harness.sandbox.summary().totals.requests, ContinuousClock.now)
                let calls = Self.calls * count
                try await until("\(calls) calls") { harness.sandbox.summary().totals.requests >= before + calls }
                rates.append(Double(calls) / ((ContinuousClock.now - start) / .seconds(1)))
            }
            print("calls a second with 1, 2, 4 and 8 workers: \(rates.map { Int($0.rounded()) })")
            #expect(rates[1] > 1.3 * rates[0])
            #expect(rates[2] > 1.3 * rates[1])
            // Eight may meet the limits of the machine.
            #expect(rates[3] > rates[2])
            for worker in workers { #expect(await worker.stop() == .code(0)) }
            for conversation in conversations {
                let called = harness.called(conversation)
                #expect(called == sent.filter { $0.0 == conversation }.map(\.1.id).prefix(called.count).map(\.self))
            }
        }
    }
}
