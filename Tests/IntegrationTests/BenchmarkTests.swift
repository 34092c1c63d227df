// The benchmark in its shortest form: it runs, and it tells a worker that loses nothing from one that does nothing.

import Foundation
import TestSupport
import Testing

@Suite("Benchmark", .serialized, .timeLimit(.minutes(3)))
struct BenchmarkTests {
    private struct Report: Decodable {
        struct Measurement: Decodable {
            struct Throughput: Decodable {
                var commands: Int
                var rate: Double
                var peakMemory: Int
            }

            struct Latency: Decodable {
                struct Percentiles: Decodable { var median: Double }
                var total: Percentiles
                var upstream: Percentiles
            }

            var store: String
            var throughput: Throughput
            var latency: Latency
            var audits: [[String: Int]]
        }

        var measurements: [Measurement]
    }

    @Test("Every command is called and answered once, and the figures add up")
    func measuresWorkers() async throws {
        let folder = try TemporaryFolder()
        try await ChildProcess.run(
            ChildProcess.product("RouteBench"),
            [
                "worker", "--store", "sqlite", "--store", "redis", "--delay", "5", "--commands", "200",
                "--latency-seconds", "0.5", "--json", folder.path("report.json"), "--svg", folder.path("chart.svg"),
            ])
        let report = try JSONDecoder().decode(
            Report.self, from: Data(contentsOf: URL(fileURLWithPath: folder.path("report.json"))))
        #expect(report.measurements.map(\.store) == ["sqlite", "redis"])
        for measurement in report.measurements {
            #expect(measurement.throughput.commands == 200)
            #expect(measurement.throughput.rate > 0 && measurement.throughput.peakMemory > 0)
            #expect(measurement.latency.upstream.median >= 5)
            #expect(measurement.latency.total.median > measurement.latency.upstream.median)
            #expect(measurement.audits.count == 2)
            #expect(measurement.audits.allSatisfy { $0.values.allSatisfy { $0 == 0 } })
        }
        #expect(try String(contentsOfFile: folder.path("chart.svg"), encoding: .utf8).hasSuffix("</svg>\n"))
    }

    @Test("A worker that ends is no result")
    func noticesAWorkerThatEnds() async throws {
        let child = try ChildProcess(
            ChildProcess.product("RouteBench"),
            [
                "worker", "--store", "memory", "--delay", "0", "--commands", "10", "--latency-seconds", "0", "--worker",
                "/bin/false",
            ])
        try await child.line(containing: "ended after 0 answers")
        #expect(await child.exit() == .code(1))
    }

    private struct TroubleResult: Decodable {
        struct Phase: Decodable {
            var name: String
            var commands: Int
        }

        var phases: [Phase]
        var audit: [String: Int]
    }

    @Test("Orgs in trouble are told from the others, and lose nothing")
    func measuresTrouble() async throws {
        let folder = try TemporaryFolder()
        try await ChildProcess.run(
            ChildProcess.product("RouteBench"),
            [
                "trouble", "--orgs", "10", "--in-trouble", "2", "--rate", "50", "--seconds", "1", "--seconds", "3",
                "--seconds", "1", "--json", folder.path("report.json"),
            ])
        let result = try JSONDecoder().decode(
            TroubleResult.self, from: Data(contentsOf: URL(fileURLWithPath: folder.path("report.json"))))
        #expect(result.phases.map(\.name) == ["before", "in trouble", "after"])
        // Eight of ten orgs are well.
        #expect(result.phases.map(\.commands) == [40, 120, 40])
        #expect(result.audit.count == 7 && result.audit.values.allSatisfy { $0 == 0 })
    }

    private struct StoresReport: Decodable {
        struct Milliseconds: Decodable {
            var median: Double
            var maximum: Double
        }

        struct Figures: Decodable {
            var store: String
            var callers: Int
            var pairs: Int
            var perSecond: Double
            var client: Double
            var milliseconds: Milliseconds
        }

        struct Purge: Decodable {
            var store: String
            var purged: Int
            var pairs: Int
            var milliseconds: Milliseconds
            var quiet: Milliseconds
        }

        var figures: [Figures]
        var purges: [Purge]
    }

    @Test("Every store is measured at every number of callers, and purged of all of it while callers go on")
    func measuresStores() async throws {
        let folder = try TemporaryFolder()
        try await ChildProcess.run(
            ChildProcess.product("RouteBench"),
            [
                "stores", "--seconds", "0.1", "--callers", "1", "--callers", "16", "--purge-callers", "4", "--json",
                folder.path("report.json"),
            ])
        let report = try JSONDecoder().decode(
            StoresReport.self, from: Data(contentsOf: URL(fileURLWithPath: folder.path("report.json"))))
        let stores = ["memory", "sqlite", "postgres", "redis"]
        #expect(report.figures.map { "\($0.store) \($0.callers)" } == stores.flatMap { ["\($0) 1", "\($0) 16"] })
        #expect(report.purges.map(\.store) == stores)
        for line in report.figures {
            #expect(line.pairs >= line.callers && line.perSecond > 0 && line.client > 0)
            #expect(line.milliseconds.maximum >= line.milliseconds.median && line.milliseconds.median > 0)
        }
        for purge in report.purges {
            let earlier = report.figures.filter { $0.store == purge.store }.map(\.pairs).reduce(0, +)
            // Those of the quiet line before the purge are purged with them.
            #expect(purge.purged > earlier && purge.pairs >= 4)
            #expect(purge.milliseconds.maximum > 0 && purge.quiet.maximum > 0)
        }
    }
}
