// What stands in the line of the log that every command has.

import AMQPMessage
import IdempotencyStore
import RoutingContract
import Testing

@testable import RouteWorker
@testable import WorkerLog

@Suite struct AnnouncementTests {
    private let now = StoreClock.system.now()

    private func announcement(of result: CommandResult) throws -> Announcement {
        var delivery = PipelineStage.delivery(1)
        delivery.message.properties.headers["traceparent"] = .string(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        let command = try CommandDecoder(rules: DecodingRules(), orgs: OrgDirectory([PipelineStage.org]))
            .decode(delivery.message, routingKey: delivery.routingKey, queue: QueueDefaults(), now: now).get()
        return Announcement(
            of: Ending(result: result, duplicate: true, replay: 0), for: command, delivery,
            PipelineSettings(worker: "test", concurrency: 1, queues: [.init(name: PipelineStage.queue, prefetch: 1)]))
    }

    private func line(_ write: (inout LogLine) -> Void) -> String {
        var line = LogLine(.human, "test", .info, "succeeded")
        write(&line)
        return String(decoding: line.end(), as: UTF8.self)
    }

    @Test func aRecordedResultOfImpossibleTimesIsLogged() throws {
        let announcement = try announcement(
            of: CommandResult(
                outcome: .succeeded, receivedAt: Timestamp(milliseconds: .min),
                completedAt: Timestamp(milliseconds: .max), worker: "w"))
        #expect(line { announcement.write(to: &$0) }.contains(" ms=\(Int64.max) "))
    }

    @Test func theFieldsOfALineStandInTheOrderOfTheirKeys() throws {
        let announcement = try announcement(
            of: CommandResult(
                outcome: .rejected, httpStatus: 400,
                error: CommandError(code: 4711, message: "not this way", reason: "refused"), attempts: 2,
                receivedAt: now, completedAt: now, worker: "w"))
        let line = line { announcement.write(to: &$0, obstacle: "no queue") }
        let keys = line.split(separator: " ").filter { $0.contains("=") }.map { String($0.prefix { $0 != "=" }) }
        #expect(
            keys == [
                "attempts", "code", "command", "conversation", "duplicate", "error", "ms", "obstacle", "org", "queue",
                "reason", "requestId", "status", "traceId",
            ], "\(line)")
        #expect(line.contains(#" error="not this way" ms=0 obstacle="no queue" org=00D000000000001 "#), "\(line)")
        #expect(line.contains(" traceId=0af7651916cd43dd8448eb211c80319c"), "\(line)")
        #expect(self.line { announcement.write(to: &$0, error: "elsewhere") }.contains(" error=elsewhere "))
    }
}
