// The operators' guide lists all metrics, as they are.

import Foundation
import PrometheusMetrics
import TestSupport
import Testing

@testable import RouteWorker

@Suite struct MetricsDocumentationTests {
    @Test("The guide's table is the catalogue")
    func guide() throws {
        var lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
        for family in MetricCatalog.all {
            let kind =
                switch family.kind {
                case .counter: "counter"
                case .gauge: "gauge"
                case .histogram: "histogram"
                }
            let labels = family.labels.map { "`\($0)`" }.joined(separator: ", ")
            lines.append("| `\(family.name)` | \(kind) | \(labels) | \(family.help) |")
        }
        let guide = try String(
            contentsOf: PackageFolder.url.appendingPathComponent("deploy/OPERATING.md"), encoding: .utf8)
        let start = try #require(guide.firstRange(of: "<!-- metrics:begin -->\n"))
        let end = try #require(guide.firstRange(of: "<!-- metrics:end -->"))
        #expect(guide[start.upperBound..<end.lowerBound] == lines.joined(separator: "\n") + "\n")
    }

    @Test("No name twice")
    func names() {
        #expect(Set(MetricCatalog.all.map(\.name)).count == MetricCatalog.all.count)
    }
}
