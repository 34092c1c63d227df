// Many orgs, of which some are in trouble for a while: what do the others notice?

import AMQP
import Foundation
import Histogram

/// How the orgs that are well fared in one phase.
struct TroublePhase: Codable, Sendable {
    var name: String
    /// Commands of theirs.
    var commands: Int
    /// From giving a command to the publisher until its answer is read, in milliseconds.
    var total: Percentiles
    /// Of the worker at the end of the phase.
    var residentKiB: Int
}

struct TroubleResult: Codable, Sendable {
    var machine = Machine()
    var store: StoreKind
    var orgs: Int
    var inTrouble: Int
    var rate: Double
    var phases: [TroublePhase]
    /// From the end of the trouble to the last answer of the orgs in trouble.
    var recoverySeconds: Double
    var audit: Audit
}

struct TroubleRun {
    var orgs: Int
    var inTrouble: Int
    var rate: Double
    /// Before, in and after the trouble.
    var seconds: [Double]

    func measure(_ scenario: Scenario, _ store: StoreKind, _ bench: Bench) async throws -> TroubleResult {
        let troubled = try await Stub(program: bench.programs.stub, logFile: bench.folder.newPath("stub.log"))
        try await troubled.reset(delayMilliseconds: scenario.delayMilliseconds)
        // Spread evenly among the others.
        let all = (0..<orgs).map { index in
            (id: String(format: "00DSB%010d", index), stub: isTroubled(index) ? troubled : bench.stub)
        }
        let stage = try await Stage(scenario, bench, orgs: all)
        // What is sent first warms the worker up, one command for each org.
        var bounds = [0, orgs]
        for length in seconds { bounds.append(bounds.last! + Int(length * rate)) }
        let commands = bounds.last!
        let times = SendingTimes(commands)
        let collector = try AnswerCollector(
            bench.servers.broker("answers"), queue: stage.results, expected: commands, onCount: { _ in })
        try stage.startContestant()
        let worker = stage.children[0].pid
        let publisher = try AMQPPublisher(bench.servers.broker("commands"), onResults: times.confirmed)
        publisher.start()

        let bar = ProgressBar("\(orgs) orgs, \(inTrouble) in trouble, \(Int(rate))/s", total: commands)
        var memory: [Int] = []
        var troubleEnded = monotonicNow()
        for (phase, range) in zip(bounds, bounds.dropFirst()).map({ $0..<$1 }).enumerated() {
            if phase == 2 { try await troubled.refuse(true) }
            if phase == 3 {
                try await troubled.refuse(false)
                troubleEnded = monotonicNow()
            }
            try await stage.load.send(range, rate: rate, publisher, times) { bar.update($0, note: "sent") }
            if phase == 0 { try await stage.wait(progress: { collector.distinct }) { $0 == orgs } }
            memory.append(ProcessFigures.memory(of: worker).present)
        }
        try await stage.wait(progress: { collector.distinct }) { $0 == commands }
        bar.finish("\(commands) commands answered")
        await publisher.close()

        let answeredAt = collector.soFar.answeredAt
        let sentAt = times.all.sent
        let phases = ["before", "in trouble", "after"].enumerated().map { index, name in
            let own = (bounds[index + 1]..<bounds[index + 2]).filter { !isTroubled($0 % orgs) }
            var histogram = Histogram<UInt64>(highestTrackableValue: 600_000_000_000)
            for command in own { _ = histogram.record(max(answeredAt[command] - sentAt[command], 1)) }
            return TroublePhase(
                name: name, commands: own.count, total: Percentiles(histogram), residentKiB: memory[index + 1])
        }
        let last = (orgs..<bounds[3]).filter { isTroubled($0 % orgs) }.map { answeredAt[$0] }.max() ?? troubleEnded
        let audit = try await stage.finish(sent: commands, collector)
        try await troubled.stop()
        return TroubleResult(
            store: store, orgs: orgs, inTrouble: inTrouble, rate: rate, phases: phases,
            recoverySeconds: Double(max(last, troubleEnded) - troubleEnded) / 1e9, audit: audit)
    }

    private func isTroubled(_ org: Int) -> Bool {
        let distance = orgs / inTrouble
        return org % distance == 0 && org / distance < inTrouble
    }
}
