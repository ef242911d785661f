"""The blog's one page."""

from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(f"the blog at {request.get_host()}\n"))]
