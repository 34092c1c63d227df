// `/api/v1/route`: from HTTP to the rules and back.

import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import RoutingContract

struct RouteEndpoint: Sendable {
    let state: StateBox
    let settings: SandboxSettings
    let logger: Logger

    func answer(_ request: Request, _ context: SandboxContext, method: IncomingRequest.Method) async throws -> Response
    {
        var request = request
        let incoming = try await read(&request, method: method)
        let parsed = ParsedRequest(incoming, maximumAttributeCharacters: settings.maximumAttributeCharacters)
        var decision = state.access { $0.decide(parsed, now: .now) }
        if let latency = decision.latency { await FaultPlayer.pause(latency) }
        if decision.isLate {
            decision = state.access { [decision] in $0.carryOut(parsed, decision, now: .now) }
        }
        if settings.isVerbose { log(parsed, decision) }
        return try await FaultPlayer.play(decision, on: context.channel, request: request)
    }

    private func read(_ request: inout Request, method: IncomingRequest.Method) async throws -> IncomingRequest {
        let headers = request.headers
        var incoming = IncomingRequest(
            method: method, authorization: headers[.authorization], org: headers[.orgID],
            context: headers[.authorizationContext], contextType: headers[.authorizationContextType],
            request: headers[.requestID], contentType: headers[.contentType])
        if let host = request.head.authority { incoming.headerLines = "Host: \(host)\n" }
        for field in headers {
            let value = field.name == .authorization ? "(hidden)" : field.value
            incoming.headerLines += "\(field.name.rawName): \(value)\n"
        }
        do {
            let body = try await request.collectBody(upTo: settings.maximumBodyBytes)
            incoming.body = Array(body.readableBytesView)
            incoming.bodyBytes = body.readableBytes
        } catch is NIOTooManyBytesError {
            incoming.bodyIsTooLarge = true
            incoming.bodyBytes = headers[.contentLength].flatMap { Int($0) } ?? settings.maximumBodyBytes + 1
        }
        return incoming
    }

    private func log(_ request: ParsedRequest, _ decision: Decision) {
        let answer = decision.reply.map { reply in "\(reply.status)\(reply.code.map { " (\($0))" } ?? "")" }
        let ending = answer ?? decision.fault?.ending.rawValue ?? "no answer"
        let effect =
            switch decision.effect {
            case .none: "no effect"
            case .created(let number): "created \(RoutingBook.id(number))"
            case .cleared(let count): "cleared \(count)"
            }
        let fault = decision.fault.flatMap(\.id).map { ", fault \($0)" } ?? ""
        let incoming = request.incoming
        logger.info(
            """
            #\(decision.sequence) \(incoming.method.rawValue) org \(incoming.org ?? "-") request \(incoming.request ?? "-") \
            conversation \(request.conversation ?? "-"): \(ending), \(effect)\(fault)
            """)
    }
}

extension HTTPField.Name {
    // The names are tokens of RFC 9110, so that these never are nil.
    static let orgID = HTTPField.Name("OrgId")!
    static let authorizationContext = HTTPField.Name("AuthorizationContext")!
    static let authorizationContextType = HTTPField.Name("AuthorizationContextType")!
    static let requestID = HTTPField.Name("RequestId")!
}
