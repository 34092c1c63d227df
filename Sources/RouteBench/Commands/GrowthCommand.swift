// `RouteBench growth`: does the cost of a command grow with what is stored?

import ArgumentParser
import Foundation

struct GrowthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "growth",
        abstract: "Fills SQLite and PostgreSQL with RequestIds and measures claims, records and purges on the way.",
        discussion: """
            The rows are written by SQL in the store's own format. At every level new commands are claimed and recorded, 64
            at a time, and rows whose retention is over are purged; first with random RequestIds, then with such that begin
            with the time. Ten million rows take about 4 GB of disk and some minutes, four times.

            EXAMPLES
              RouteBench growth --rows 10000000 --svg growth.svg
              RouteBench growth --rows 100000 --store sqlite --ids time
            """)

    @Option(help: "Stored RequestIds at the end.")
    var rows = 10_000_000

    @Option(help: "sqlite or postgres; may be given several times. Both by default.")
    var store: [StoreKind] = [.sqlite, .postgres]

    @Option(help: "random (UUIDs of version 4) or time (version 7); may be given several times. Both by default.")
    var ids: [RequestIDKind] = RequestIDKind.allCases

    @Option(help: "Commands claimed and recorded at every level.")
    var commands = 20_000

    @Option(help: ArgumentHelp("Write all figures as JSON.", valueName: "file"))
    var json: String?

    @Option(help: ArgumentHelp("Draw the curves.", valueName: "file"))
    var svg: String?

    func validate() throws {
        guard rows > 0, commands > 0 else { throw ValidationError("numbers must be positive") }
        guard store.allSatisfy({ $0 == .sqlite || $0 == .postgres }) else {
            throw ValidationError("only sqlite and postgres can be filled")
        }
    }

    func run() async throws {
        let servers = try Servers()
        let folder = try BenchFolder()
        var report = GrowthReport()
        say(report.machine.summary)
        print("store     ids     rows stored  wall µs a command  CPU µs a command  purge µs a row")
        for kind in store {
            for ids in ids {
                let target: any GrowthTarget =
                    kind == .sqlite
                    ? try SQLiteGrowth(path: folder.newPath("store.db"), ids: ids)
                    : try PostgresGrowth(servers, ids: ids)
                var stored = 0
                for level in [0, rows / 10, rows / 4, rows / 2, rows] {
                    let point = try await GrowthRun(target, servers, kind, ids).measure(
                        at: level, adding: level - stored, commands: commands)
                    stored = level
                    report.points.append(point)
                    print(point.line)
                }
                try await target.close()
            }
        }
        if let json { try JSONEncoder.readable.encode(report).write(to: URL(fileURLWithPath: json)) }
        if let svg { try report.svg.write(toFile: svg, atomically: true, encoding: .utf8) }
    }
}
