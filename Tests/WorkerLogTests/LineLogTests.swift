// Log lines in both forms, and their level.

import Foundation
import Logging
import Testing

@testable import WorkerLog

@Suite struct LineLogTests {
    /// What is written to a log.
    private func lines(
        _ format: LogLine.Format, _ threshold: LogThreshold, _ body: (LineLog) -> Void
    ) -> [String] {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        let writer = LogWriter(descriptor: ends[1], delay: .zero)
        body(LineLog(label: "test", format: format, threshold: threshold, writer: writer))
        #expect(writer.flush(within: .seconds(30)))
        close(ends[1])
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = read(ends[0], &buffer, buffer.count)
        close(ends[0])
        return String(decoding: buffer[..<max(count, 0)], as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// What a logger with these writes.
    private func lines(
        _ format: LogLine.Format, logger threshold: LogThreshold = LogThreshold(), _ body: (inout Logger) -> Void
    ) -> [String] {
        lines(format, threshold) { log in
            var logger = Logger(label: log.label) { _ in LineLogHandler(log) }
            body(&logger)
        }
    }

    @Test("A line for people: what others wrote neither breaks it nor commands a terminal")
    func human() {
        let lines = lines(.human) {
            $0.warning("hello\nworld", metadata: ["b": "two words", "a": "\u{1B}[2J", "c": "say \"x\""])
        }
        #expect(lines.count == 1)
        #expect(lines[0].hasSuffix(#" warning hello world a=" [2J" b="two words" c="say \"x\"""#), "\(lines)")
    }

    @Test(
        "No value ends before its quotes do, or passes for another field",
        arguments: [
            // Marks that Unicode joins with a space, a quote or an equals sign.
            ("x \u{301}outcome=\u{301}", "\"x \u{301}outcome=\u{301}\""),
            ("x \"\u{301} outcome=succeeded", "\"x \\\"\u{301} outcome=succeeded\""),
            (#"x y\"#, #""x y\\""#), (#"x\y"#, #"x\y"#),
        ])
    func forged(value: String, written: String) {
        let lines = lines(.human) { $0.info("done", metadata: ["a": "\(value)", "b": "c"]) }
        // By bytes: Unicode would join the marks here as well.
        let end = Array(" done a=\(written) b=c".utf8)
        #expect(lines.count == 1 && lines[0].utf8.suffix(end.count).elementsEqual(end), "\(lines)")
    }

    @Test("A line for machines is one JSON object")
    func json() throws {
        let lines = lines(.json) { $0.info("a \"b\" \\ \n", metadata: ["key": "\u{0}\u{2028}ü"]) }
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(lines.joined(separator: "\n").utf8)) as? [String: String])
        #expect(object["message"] == "a \"b\" \\ \n" && object["key"] == "\u{0}\u{2028}ü")
        #expect(object["level"] == "info" && object["logger"] == "test" && object["time"]?.hasSuffix("Z") == true)
    }

    @Test("A line that is written without a logger is as a logger's", arguments: [LogLine.Format.human, .json])
    func withoutLogger(format: LogLine.Format) {
        let fields: Logger.Metadata = ["a": "two words", "b": "3", "c": "say \"x\""]
        let byLogger = lines(format) { $0.info("done", metadata: fields) }
        let threshold = LogThreshold()
        let byHand = lines(format, threshold) { log in
            for level in [Logger.Level.debug, .info] {
                log.write(level, "done") { line in
                    line.field("a", "two words")
                    line.field("b", 3)
                    line.field("c", "say \"x\"")
                }
            }
        }
        func withoutTime(_ lines: [String]) -> [Substring] {
            lines.map { $0.dropFirst(format == .human ? 24 : 34) }
        }
        #expect(byHand.count == 1)
        #expect(withoutTime(byHand) == withoutTime(byLogger))
    }

    @Test("The level is the process's until a logger gets its own")
    func level() {
        let threshold = LogThreshold()
        let lines = lines(.human, logger: threshold) { logger in
            logger.debug("one")
            threshold.level = .debug
            logger.debug("two")
            threshold.level = .critical
            logger.error("three")
            logger.logLevel = .trace
            logger.trace("four")
        }
        #expect(lines.map { $0.split(separator: " ").last } == ["two", "four"])
    }
}
