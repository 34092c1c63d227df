// Route and delete over HTTP: answers, error codes, both body forms.

import Foundation
import InteractionSandbox
import Testing

@Suite struct RouteEndpointTests {
    @Test func routesAndClears() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let conversation = UUID().uuidString.lowercased()
            let request = UUID().uuidString

            let routed = try await client.call(conversation: conversation, request: request)
            #expect(routed.status == 202)
            #expect(routed.success == true)
            let id = try #require(routed.object["psrId"] as? String)
            #expect(id.hasPrefix("0JR") && id.count == 18)
            #expect((routed.object["workItemId"] as? String)?.hasPrefix("0Mw") == true)
            #expect(UUID(uuidString: routed.object["routingCorrelationId"] as? String ?? "") != nil)
            #expect(sandbox.routings(conversation: conversation).map(\.state) == [.waiting])

            // Salesforce promises no deduplication: a repeated RequestId takes effect again.
            let again = try await client.call(conversation: conversation, request: request.lowercased())
            #expect(again.object["psrId"] as? String != id)
            #expect(sandbox.effects(of: request).effects == 2)

            let cleared = try await client.call("DELETE", conversation: conversation)
            #expect(cleared.status == 202)
            #expect(cleared.success == true)
            #expect(sandbox.routings(conversation: conversation).map(\.state) == [.cleared, .cleared])
            let nothing = try await client.call("DELETE", conversation: conversation)
            #expect(nothing.status == 202)
            #expect(nothing.success == false)
        }
    }

    @Test func refusesWithTheDocumentedCodes() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            func expect(
                _ code: Int, _ status: Int = 400, method: String = "POST", headers: [String: String?] = [:],
                body: String? = nil, line: Int = #line
            ) async throws {
                let answer = try await client.call(method, body: body, headers: headers)
                #expect(answer.code == code, "line \(line): \(answer.text)")
                #expect(answer.status == status, "line \(line): \(answer.text)")
                #expect((answer.object["message"] as? String)?.isEmpty == false)
            }
            func route(_ info: String, type: String = "Initial") -> String {
                #"{"conversationIdentifier":"c","routingType":"\#(type)","routingInfo":\#(info)}"#
            }
            let queue = SandboxClient.queue
            let flow = SandboxClient.flow

            try await expect(10004, 401, headers: ["Authorization": nil])
            try await expect(10004, 401, headers: ["Authorization": "Basic abc"])
            for name in ["OrgId", "AuthorizationContext", "RequestId", "Content-Type"] {
                try await expect(10016, headers: [name: nil])
            }
            try await expect(10016, headers: ["OrgId": "00Dshort"])
            try await expect(10016, headers: ["OrgId": "00DSB0000000001ZZZ"])
            try await expect(10016, headers: ["RequestId": "not-a-uuid"])
            try await expect(10016, headers: ["AuthorizationContext": "Partner 1"])
            try await expect(10016, headers: ["Content-Type": "text/plain"])
            try await expect(10001, headers: ["AuthorizationContext": "Unprefixed"])
            try await expect(10093, headers: ["AuthorizationContextType": "Nonsense"])
            try await expect(10100, body: "")
            try await expect(10089, body: "{")
            try await expect(10089, body: "[]")
            try await expect(10089, body: #"{"conversationIdentifier":"a","conversationIdentifier":"b"}"#)
            try await expect(10018, body: #"{"routingType":"Initial"}"#)
            try await expect(10018, body: #"{"conversationIdentifier":" ","routingType":"Initial"}"#)
            try await expect(10018, method: "DELETE", body: #"{"conversationIdentifier":7}"#)
            try await expect(10089, body: #"{"conversationIdentifier":"a"}"#)
            try await expect(10089, body: route("{}", type: "Other"))
            try await expect(10089, body: route("[]"))
            try await expect(10030, body: route("{}"))
            try await expect(
                10030, body: route(#"{"queueId":"\#(queue)","flow":{"flowId":"\#(flow)","queueId":"\#(queue)"}}"#))
            try await expect(10024, body: route(#"{"flow":{"flowId":"\#(flow)"}}"#))
            try await expect(10024, body: route(#"{"flow":{"queueId":"\#(queue)"}}"#))
            try await expect(10024, body: route(#"{"flow":{"flowId":"\#(queue)","queueId":"\#(queue)"}}"#))
            try await expect(10032, body: route(#"{"queueId":"005SB0000000001"}"#))
            try await expect(10032, body: route(#"{"flow":{"flowId":"\#(flow)","queueId":"00G"}}"#))
            let long = String(repeating: "x", count: 256)
            try await expect(10096, body: route(#"{"queueId":"\#(queue)","routingAttributes":{"a":"\#(long)"}}"#))
            try await expect(10089, body: route(#"{"queueId":"\#(queue)","routingAttributes":{"a":1}}"#))
            try await expect(
                10089, method: "DELETE", body: #"{"conversationIdentifier":"a","cancelReason":"Boredom"}"#)
            try await expect(10089, body: String(repeating: "[", count: 10_000))
            try await expect(10089, body: String(repeating: " ", count: 1024 * 1024 + 1))

            #expect(sandbox.summary().totals.created == 0)
            #expect(sandbox.routings().isEmpty)
        }
    }

    @Test func acceptsEveryFormOfTheCall() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let queue = SandboxClient.queue
            let infos = [
                "null", #"{"queueId":"\#(queue)"}"#,
                """
                {"flow":{"flowId":"\(SandboxClient.flow)","queueId":"\(queue)"},"queueId":null,\
                "routingAttributes":{"tier":"gold"},"future":{}}
                """,
            ]
            for type in ["Initial", "Transfer", "Conference"] {
                for info in infos {
                    let body = #"{"conversationIdentifier":"c","routingType":"\#(type)","routingInfo":\#(info)}"#
                    let answer = try await client.call(body: body)
                    #expect(answer.status == 202 && answer.success == true, "\(body): \(answer.text)")
                }
            }
            let routings = sandbox.routings(conversation: "c")
            #expect(routings.count == 9)
            #expect(routings.compactMap(\.queueID).count == 6)
            #expect(routings.compactMap(\.flowID).count == 3)
            for reason in ["Unknown", "UNAVAILABLE", "decline", "Cancel"] {
                let answer = try await client.call(
                    "DELETE", body: #"{"conversationIdentifier":"c","cancelReason":"\#(reason)"}"#)
                #expect(answer.status == 202)
            }
            for type in [
                "ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant",
            ] {
                #expect(try await client.call(headers: ["AuthorizationContextType": type]).status == 202)
            }
            #expect(try await client.call(headers: ["OrgId": "00DSB0000000001MAE"]).status == 400)
        }
    }

    @Test func acceptsMultipart() async throws {
        try await Sandbox.withRunning(logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let headers: [String: String?] = ["Content-Type": #"multipart/form-data; boundary="b 1""#]
            func form(name: String = "json", type: String = "application/json") -> String {
                """
                --b 1\r
                Content-Disposition: form-data; name="\(name)"\r
                Content-Type: \(type)\r
                \r
                {"conversationIdentifier":"c","routingType":"Initial"}\r
                --b 1--\r

                """
            }
            func call(_ body: String, _ headers: [String: String?] = headers) async throws -> Answer {
                try await client.call(body: body, headers: headers)
            }
            let routed = try await call(form())
            #expect(routed.status == 202)
            #expect(try await call(form(name: "other")).code == 10089)
            #expect(try await call(form(type: "text/plain")).code == 10089)
            #expect(try await call("--b 1\r\n\r\n").code == 10089)
            #expect(try await call("--").code == 10089)
            #expect(try await call(form(), ["Content-Type": "multipart/form-data"]).code == 10089)
        }
    }

    @Test func orgsCanHaveWaysOfTheirOwn() async throws {
        var settings = SandboxSettings()
        settings.orgs = [
            SandboxOrg(
                id: "00DSB0000000002", contexts: ["Partner1_Channel1"], queues: [SandboxClient.queue],
                supportsConference: false, supportsCancelReason: false),
            SandboxOrg(id: "00DSB0000000003", isReadOnly: true),
            SandboxOrg(id: "00DSB0000000004", hasPermissions: false),
            SandboxOrg(id: "00DSB0000000005", rateLimit: 0),
        ]
        settings.acceptsAnyOrg = false
        try await Sandbox.withRunning(settings: settings, logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            func call(
                _ method: String = "POST", org: Int, context: String = "Partner1_Channel1", body: String? = nil
            ) async throws -> Answer {
                try await client.call(
                    method, body: body,
                    headers: ["OrgId": "00DSB000000000\(org)", "AuthorizationContext": context])
            }
            #expect(try await call(org: 1).code == 10099)
            #expect(try await call(org: 2).status == 202)
            #expect(try await call(org: 2, context: "Partner1_Channel2").code == 10026)
            #expect(try await call(org: 2, context: "Partner2_Channel1").code == 10005)
            let conference = #"{"conversationIdentifier":"c","routingType":"Conference"}"#
            #expect(try await call(org: 2, body: conference).code == 10075)
            let reason = #"{"conversationIdentifier":"c","cancelReason":"Cancel"}"#
            #expect(try await call("DELETE", org: 2, body: reason).code == 10076)
            let queue =
                #"{"conversationIdentifier":"c","routingType":"Initial","routingInfo":{"queueId":"00GSB0000000009"}}"#
            #expect(try await call(org: 2, body: queue).code == 10032)
            #expect(try await call(org: 3).code == 10019)
            #expect(try await call(org: 4).code == 10099)
            let limited = try await call(org: 5)
            #expect(limited.status == 429)
            #expect(limited.object["message"] as? String == "Interaction request rate limit exceeded")
        }
    }
}
