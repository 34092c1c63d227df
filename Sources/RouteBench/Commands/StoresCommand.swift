// `RouteBench stores`: what a claim and a record cost in each store, at several numbers of callers, and beside a purge.

import ArgumentParser
import Foundation

struct StoresCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stores",
        abstract: "Pairs of a claim and a record per second, and their processor time, for each store.",
        discussion: """
            Each caller claims a new command and records its success, one pair after another. Shown are pairs per second,
            how long a pair took, and microseconds of processor time a pair: of this process, which is the store's client
            and makes the commands up, and of the store's server (whose use the kernel counts in hundredths of a second).
            A store keeps the pairs of its earlier lines.

            At the end all of them are purged, as if a day had passed, while callers go on: the longest pair meanwhile is
            shown beside the longest without a purge.

            SQLite syncs every commit (synchronous=FULL); PostgreSQL and Redis do what their servers are told to. Works in a
            schema and under names of its own, which it removes; in Redis a counter stays.

            EXAMPLES
              RouteBench stores
              RouteBench stores --store sqlite --store redis --callers 64 --seconds 10 --json stores.json
            """)

    @Option(help: "memory, sqlite, postgres or redis; may be given several times. All by default.")
    var store: [StoreKind] = []

    @Option(help: "How many ask at a time; may be given several times.")
    var callers: [Int] = [1, 16, 64, 256]

    @Option(help: "How many go on beside the purge.")
    var purgeCallers = 64

    @Option(help: "Seconds for each line.")
    var seconds = 3.0

    @Option(help: ArgumentHelp("Write all figures as JSON.", valueName: "file"))
    var json: String?

    func validate() throws {
        guard seconds > 0, seconds <= 3600, (callers + [purgeCallers]).allSatisfy({ (1...10_000).contains($0) }) else {
            throw ValidationError("--seconds takes up to 3600, --callers and --purge-callers 1 to 10000")
        }
    }

    func run() async throws {
        let servers = try Servers()
        let folder = try BenchFolder()
        var report = StoresReport(seconds: seconds)
        say(report.machine.summary)
        for kind in store.isEmpty ? StoreKind.allCases : store {
            let place = try StorePlace(kind, servers, folder)
            do {
                let run = StoreRun(place, servers, seconds: seconds)
                for count in callers { report.figures.append(try await run.measure(callers: count)) }
                report.purges.append(try await run.purge(callers: purgeCallers))
            } catch {
                await place.remove()
                throw error
            }
            await place.remove()
        }
        print(report.table)
        if let json { try JSONEncoder.readable.encode(report).write(to: URL(fileURLWithPath: json)) }
    }
}
