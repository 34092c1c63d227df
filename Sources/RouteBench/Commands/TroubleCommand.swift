// `RouteBench trouble`: do orgs that are well notice those in trouble?

import ArgumentParser
import Foundation

struct TroubleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trouble",
        abstract: "Lets some of many orgs answer 503 for a while and shows what the others notice of it.",
        discussion: """
            Commands of all orgs are sent in turn at a steady rate. One line for the time before, in and after the trouble:
            how long the commands of the orgs that are well took, from publishing to reading the answer, and the worker's
            memory. In the end every command, those of the orgs in trouble too, must have taken effect and been answered
            exactly once.

            EXAMPLES
              RouteBench trouble
              RouteBench trouble --orgs 30 --in-trouble 2 --rate 100 --seconds 5 --seconds 10 --seconds 10
            """)

    @Option(help: "Orgs altogether.")
    var orgs = 300

    @Option(help: "Those of them that answer 503.")
    var inTrouble = 20

    @Option(help: "Commands per second.")
    var rate = 200.0

    @Option(help: "Three times: before, in and after the trouble.")
    var seconds: [Double] = [30, 120, 60]

    @Option(help: "Milliseconds that the API takes to answer.")
    var delay = 20

    @Option(help: "memory, sqlite, postgres or redis.")
    var store = StoreKind.redis

    @Option(help: "classic or quorum.")
    var queue = QueueKind.quorum

    @Option(help: "Commands in work at a time.")
    var concurrency = 64

    @Option(help: ArgumentHelp("Write all figures as JSON.", valueName: "file"))
    var json: String?

    @OptionGroup var programs: ProgramOptions

    func validate() throws {
        guard inTrouble > 0, orgs > inTrouble, rate > 0, concurrency > 0, delay >= 0 else {
            throw ValidationError("numbers must be positive, and some orgs well")
        }
        guard seconds.count == 3, seconds.allSatisfy({ $0 * rate >= Double(orgs) }) else {
            throw ValidationError("three times, each long enough for a command of every org")
        }
    }

    func run() async throws {
        try await programs.withBench { bench in
            let scenario = Scenario(
                contestant: .worker(store), queue: queue, delayMilliseconds: delay, workers: 1, concurrency: concurrency
            )
            let run = TroubleRun(orgs: orgs, inTrouble: inTrouble, rate: rate, seconds: seconds)
            let result = try await run.measure(scenario, store, bench)
            print(result.machine.summary)
            var rows = [["phase", "", "commands", "median ms", "p90", "p99", "longest", "resident MB"]]
            for phase in result.phases {
                let times = [phase.total.median, phase.total.p90, phase.total.p99, phase.total.maximum]
                rows.append(
                    [phase.name, "", "\(phase.commands)"] + times.map { $0.formatted(1) }
                        + [(Double(phase.residentKiB) / 1024).formatted(1)])
            }
            print(Report.align(rows))
            print("all answered \(result.recoverySeconds.formatted(1)) s after the trouble; \(result.audit.summary)")
            if let json { try JSONEncoder.readable.encode(result).write(to: URL(fileURLWithPath: json)) }
            guard result.audit.isClean else { throw BenchFailure("commands were lost or called twice, see above") }
        }
    }
}
