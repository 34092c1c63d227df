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
}
