// `RouteBench worker`: the comparison.

import ArgumentParser
import Foundation

struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker",
        abstract: "Commands per second, processor time and memory of workers, and how long commands take.",
        discussion: """
            For every combination asked for: all commands are put on the queue, workers are started, and what they use
            is measured from the first answer to the last. Then commands are sent at half of that rate to see how long
            they take. In the end every command must have been called and answered exactly once; otherwise the exit code
            is 1.

            The table's ratio is the worker's processor time over that of the worker in Go, or of the C reference where
            Go did not run. Times are in milliseconds: `median` and `p99` from publishing a command to reading its answer,
            `added` what is left of it without the upstream and the broker's two confirms.

            EXAMPLES
              RouteBench worker --commands 50000 --store sqlite --delay 0
              RouteBench worker --queue classic --queue quorum --workers 1 --workers 2 --json result.json --svg chart.svg
            """)

    @Option(help: "Commands per run.")
    var commands = 20_000

    @Option(help: "memory, sqlite, postgres or redis; may be given several times. All by default.")
    var store: [StoreKind] = []

    @Option(help: "classic or quorum; may be given several times.")
    var queue: [QueueKind] = [.classic]

    @Option(help: "Milliseconds that the API takes to answer; may be given several times.")
    var delay: [Int] = [0, 20]

    @Option(help: "Worker processes; may be given several times.")
    var workers: [Int] = [1]

    @Option(help: "Commands in work at a time in each worker.")
    var concurrency = 64

    @Option(help: "Seconds for which latency is measured at half of the top rate; 0 leaves it out.")
    var latencySeconds = 4.0

    @Option(help: "How often each combination is measured; the run with the least processor time counts.")
    var rounds = 1

    @Option(help: ArgumentHelp("The C reference, measured too where it is given.", valueName: "path"))
    var reference: String?

    @Option(help: ArgumentHelp("The worker in Go, measured too where it is given.", valueName: "path"))
    var go: String?

    @Option(help: ArgumentHelp("Write all figures as JSON.", valueName: "file"))
    var json: String?

    @Option(help: ArgumentHelp("Draw the comparison.", valueName: "file"))
    var svg: String?

    @OptionGroup var programs: ProgramOptions

    func validate() throws {
        guard commands > 0, rounds > 0, concurrency > 0, workers.allSatisfy({ $0 > 0 }), delay.allSatisfy({ $0 >= 0 })
        else { throw ValidationError("numbers must be positive") }
    }

    func run() async throws {
        try await programs.withBench(reference: reference, go: go) { bench in
            var report = Report(concurrency: concurrency)
            say(report.machine.summary)
            for scenario in scenarios { report.measurements.append(try await measure(scenario, bench)) }
            print(report.table)
            if let json { try report.json().write(to: URL(fileURLWithPath: json)) }
            if let svg { try BarChart(report).svg.write(toFile: svg, atomically: true, encoding: .utf8) }
            guard report.isClean else { throw BenchFailure("commands were lost or called twice, see above") }
        }
    }

    private var scenarios: [Scenario] {
        var contestants: [Contestant] = reference == nil ? [] : [.reference]
        if go != nil { contestants.append(.go) }
        contestants += (store.isEmpty ? StoreKind.allCases : store).map { .worker($0) }
        var scenarios: [Scenario] = []
        for queue in queue {
            for delay in delay {
                for workers in workers {
                    for contestant in contestants {
                        scenarios.append(
                            Scenario(
                                contestant: contestant, queue: queue, delayMilliseconds: delay, workers: workers,
                                concurrency: concurrency))
                    }
                }
            }
        }
        return scenarios
    }

    private func measure(_ scenario: Scenario, _ bench: Bench) async throws -> Measurement {
        var best: Throughput?
        var audits: [Audit] = []
        for _ in 0..<rounds {
            let (throughput, audit) = try await ThroughputRun.measure(scenario, bench, commands: commands)
            audits.append(audit)
            if best.map({ throughput.worker.total < $0.worker.total }) ?? true { best = throughput }
        }
        guard let best else { throw BenchFailure("nothing was measured") }
        guard latencySeconds > 0 else { return Measurement(scenario, best, nil, audits) }
        let (latency, audit) = try await LatencyRun.measure(
            scenario, bench, rate: best.rate / 2, seconds: latencySeconds)
        return Measurement(scenario, best, latency, audits + [audit])
    }
}
